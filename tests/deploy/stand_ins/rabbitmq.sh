# As the image of RabbitMQ begins: its user and password are what the environment says.
set -eu
printf 'default_user = %s\ndefault_pass = %s\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n' \
    "$RABBITMQ_DEFAULT_USER" "$RABBITMQ_DEFAULT_PASS" > /etc/rabbitmq/rabbitmq.conf
echo '[rabbitmq_prometheus].' > /etc/rabbitmq/enabled_plugins
chown -R rabbitmq:rabbitmq /var/lib/rabbitmq /etc/rabbitmq
exec setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups env HOME=/var/lib/rabbitmq /usr/lib/rabbitmq/bin/rabbitmq-server
