#!/usr/bin/env python3
"""A store of objects for tests, with the bucket that the environment names: ``garage server`` runs moto, ``garage status`` asks it."""

import os
import sys
import threading
import urllib.request

BUCKET = f"http://127.0.0.1:3900/{os.environ['GARAGE_DEFAULT_BUCKET']}"

if sys.argv[1] == "status":
    urllib.request.urlopen(BUCKET)
else:
    sys.path.insert(0, "/opt/moto")
    from moto.server import ThreadedMotoServer

    ThreadedMotoServer("0.0.0.0", 3900).start()
    urllib.request.urlopen(urllib.request.Request(BUCKET, method="PUT"))
    threading.Event().wait()
