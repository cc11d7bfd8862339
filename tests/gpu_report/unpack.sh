#!/bin/sh
# Unpacks the archives beside this file into the folder samlora, and measures without network:
#   sh unpack.sh --out report [--minutes 6] [--python PATH]
# Without options it only unpacks.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$here/samlora
if [ ! -e "$root/run" ]; then
  mkdir -p "$root"
  for archive in "$here"/samlora-*.tar.gz; do tar -xzf "$archive" -C "$root"; done
  # Files that are larger than an archive come in pieces.
  find "$root" -name '*.piece-00' | while IFS= read -r first; do
    whole=${first%.piece-00}
    cat "$whole".piece-* >"$whole"
    rm "$whole".piece-*
  done
  chmod +x "$root"/.deno/*/node_modules/@deno/*/deno
  # Deno takes the packages as they stand, and asks no registry for them.
  sed -i.tmp 's/"nodeModulesDir": "auto"/"nodeModulesDir": "manual", "lock": false/' "$root/deno.json"
  rm "$root/deno.json.tmp"
fi
[ $# -gt 0 ] || exit 0

# A container may have NVIDIA's driver without the file that tells the Vulkan loader of it.
if [ -e /dev/nvidia0 ] && [ -z "${VK_DRIVER_FILES:-}" ] &&
  ! ls /usr/share/vulkan/icd.d/nvidia* /etc/vulkan/icd.d/nvidia* >/dev/null 2>&1; then
  printf '{"file_format_version":"1.0.0","ICD":{"library_path":"libGLX_nvidia.so.0","api_version":"1.3.0"}}\n' \
    >"$root/nvidia_icd.json"
  export VK_DRIVER_FILES="$root/nvidia_icd.json"
fi
export DENO_DIR="${DENO_DIR:-$here/deno-cache}" SAMLORA_CACHE="${SAMLORA_CACHE:-$here/samlora-cache}"
exec "$root/run" gpu-report "$@"
