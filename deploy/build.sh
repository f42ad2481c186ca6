#!/usr/bin/env bash
# Builds the images where there is neither a Docker engine nor a registry: buildah in a chroot, on a base that mmdebstrap makes of Debian's
# packages. Needs root, and the Debian packages buildah and mmdebstrap. With a Docker engine use docker/*.Dockerfile directly.
#
#   deploy/build.sh [api|inference]...     api when nothing is said
#
# Leaves in build/images: the store of buildah, NAME.cdx.json (CycloneDX: what is in the image) and NAME.size (MB unpacked).
# VARIANT=cpu makes the inference image without CUDA; pip must then be set to an index with PyTorch's CPU builds.
# Packages are fetched by the pip of the host, so that its settings and proxies count; the build itself uses no network.
set -euo pipefail
cd "$(dirname "$0")/.."

BIN=$PWD/.venv/bin
OUT=$PWD/build/images
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
CYCLONEDX=cyclonedx-bom==7.5.0
BUILDAH=(buildah --root "$OUT/storage" --runroot "$OUT/run")

main() {
    mkdir -p "$OUT"
    make_bases
    for name in "${@:-api}"; do
        case "$name" in
            api) build api requirements/api.txt . ;;
            inference) build inference "$(inference_requirements)" "$(bento)" ;;
            *) echo "There is no image $name: say api or inference" >&2; exit 2 ;;
        esac
    done
}

# Debian's Python is the 3.11 that Voxify needs. The base is what mmdebstrap has before the tools of the build join it.
make_bases() {
    if ! "${BUILDAH[@]}" images --quiet localhost/voxify-builder >/dev/null 2>&1; then
        local without=() unwanted='' folder
        for folder in doc info locale man; do without+=(--dpkgopt="path-exclude=/usr/share/$folder/*"); done
        for folder in dev proc sys tmp var/cache var/lib/apt; do unwanted+=" --exclude='./$folder/*'"; done
        # Wheels want libstdc++. Without usr-is-merged comes usrmerge, and with that the whole of Perl.
        mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,libstdc++6,usr-is-merged "${without[@]}" \
            --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
            --customize-hook="tar -C \"\$1\" $unwanted -cf '$OUT/base.tar' ." \
            --customize-hook='APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq --yes install --no-install-recommends \
                -oDPkg::Chroot-Directory="$1" python3-venv binutils >/dev/null' \
            bookworm "$OUT/builder.tar"
        import_image voxify-base "$OUT/base.tar"
        import_image voxify-builder "$OUT/builder.tar"
        rm "$OUT/base.tar" "$OUT/builder.tar"
    fi
}

import_image() {
    local container
    container=$("${BUILDAH[@]}" from scratch)
    "${BUILDAH[@]}" add --quiet "$container" "$2" / >/dev/null
    "${BUILDAH[@]}" commit --quiet --rm "$container" "$1" >/dev/null
}

# The pins of the image of inference, less what its variant leaves out.
inference_requirements() {
    if [ "${VARIANT:-cuda}" = cpu ]; then
        grep -vE '^(nvidia-|cuda-|triton==)' requirements/inference.txt > "$OUT/inference-cpu.txt"
        echo "$OUT/inference-cpu.txt"
    else
        echo requirements/inference.txt
    fi
}

bento() {
    BENTOML_HOME=$OUT/bentoml "$BIN/bentoml" build --output tag >/dev/null
    BENTOML_HOME=$OUT/bentoml "$BIN/bentoml" get voxify_inference:latest --output path
}

# build NAME REQUIREMENTS CONTEXT
build() {
    local name=$1 requirements=$2 context=$3 container root
    mkdir -p "$OUT/wheels/$name"
    # A package without a wheel is built here, where there is a compiler. Voxify itself is built with setuptools.
    "$BIN/python" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir "$OUT/wheels/$name" -r "$requirements" \
        "$(grep -E '^setuptools==' requirements/dev.txt)"
    "${BUILDAH[@]}" bud --quiet --isolation chroot --format docker --file "deploy/docker/$name.Dockerfile" --tag "voxify-$name:$VERSION" \
        --build-arg BASE_IMAGE=localhost/voxify-base --build-arg BUILD_IMAGE=localhost/voxify-builder \
        --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels --build-arg VARIANT="${VARIANT:-cuda}" \
        --volume "$OUT/wheels/$name:/wheels:ro" "$context" >/dev/null
    list_contents "$name" "$requirements"
    container=$("${BUILDAH[@]}" from "voxify-$name:$VERSION")
    root=$("${BUILDAH[@]}" mount "$container")
    du --summarize --apparent-size --block-size=1MB "$root" | cut -f1 > "$OUT/$name.size"
    "${BUILDAH[@]}" rm "$container" >/dev/null
    echo "voxify-$name:$VERSION, $(cat "$OUT/$name.size") MB"
}

# CycloneDX, made from an environment of the very wheels, so that it knows their licences.
list_contents() {
    local name=$1 requirements=$2
    "$BIN/uv" venv --quiet --clear --python 3.11 "$OUT/environment"
    "$BIN/uv" pip install --quiet --python "$OUT/environment" --no-index --find-links "$OUT/wheels/$name" --no-deps -r "$requirements"
    "$BIN/uv" tool run --quiet --from "$CYCLONEDX" cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --of JSON --output-file "$OUT/$name.cdx.json" "$OUT/environment"
    rm -r "$OUT/environment"
}

main "$@"
