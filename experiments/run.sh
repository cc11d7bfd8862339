#!/bin/sh
# Runs experiments/TASK.ts with the permissions that its arguments call for, and no others:
#   run.sh TASK [arguments]
# Read: the data, weights and runs that are named, the packages, the cache. Write: the results that are
# named, the cache. Network: `weights` alone. Environment: what says where the cache is and whether to tune
# kernels. No programs, nothing of the system; foreign functions for `--webgpu dawn` alone.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
task=$1
shift

reads="$(printf %s "$root" | sed 's/,/,,/g')/node_modules"
writes=

# Deno separates paths by commas; a comma of a path is written twice.
may_read() {
  [ -z "$1" ] || reads="$reads,$(printf %s "$1" | sed 's/,/,,/g')"
}

# What is written under a temporary name and renamed is read as well.
may_write() {
  [ -n "$1" ] || return 0
  may_read "$1"
  writes="$writes,$(printf %s "$1" | sed 's/,/,,/g')"
}

# A file appears under its name when it is whole, until then under another one in the same folder.
may_write_file() {
  [ -z "$1" ] || may_write "$(dirname -- "$1")"
}

out=
foreign=
hosts=dl.fbaipublicfiles.com,github.com,raw.githubusercontent.com
folder=

path_of() { # option, value
  case $task,$1 in
    autopsy,--out | experiment,--out | main,--out | experiment,--resume | main,--resume)
      out=$2
      may_write "$2"
      ;;
    *,--config | *,--data | *,--weights | report,--pictures | predict,--image | predict,--boxes-from | predict,--adapter) may_read "$2" ;;
    *,--out) may_write_file "$2" ;;
    evaluate,run | report,run) may_write "$2" ;;
    merge,run) may_read "$2" ;;
    *,--webgpu) [ "$2" != dawn ] || foreign=--allow-ffi ;;
    weights,--folder) folder=$2 ;;
    weights,--base-url) hosts=$(printf %s "$2" | sed -E 's|^[a-z]+://([^/@]*@)?([^/]*).*|\2|') ;;
  esac
}

# A study that goes on reads the data and weights that it was begun with: a path of its record, as JSON
# writes it.
recorded() {
  [ -z "$out" ] || [ ! -f "$out/resume.json" ] ||
    sed -n "s/^    \"$1\": \"\(.*\)\",\{0,1\}\$/\1/p" "$out/resume.json" | sed 's/\\\(.\)/\1/g'
}

option=
for argument; do
  case $argument in
    --help | --force | --whole-volumes) option= ;;
    --*=*) path_of "${argument%%=*}" "${argument#*=}" && option= ;;
    --*) option=$argument ;;
    *) path_of "${option:-run}" "$argument" && option= ;;
  esac
done

case $task in
  main | experiment)
    may_read "$root/.git" # the commit that results were made with
    for source in deno.json experiments kernels lib; do # and a hash of the code
      may_read "$root/$source"
    done
    may_read "$(recorded data)"
    may_read "$(recorded weights)"
    [ -n "$out" ] || may_write results
    ;;
  evaluate) may_read "$root/.git" ;;
  report) may_read "$root/experiments/sample" ;;
  autopsy)
    may_read "$root/.git"
    may_read "$root/experiments/sample"
    [ -n "$out" ] || may_write results
    ;;
esac

may_write "${SAMLORA_CACHE:-${XDG_CACHE_HOME:-${HOME:-.}/.cache}/samlora}"

if [ "$task" = weights ]; then
  may_write "$folder"
  set -- "--allow-net=$hosts" "$root/experiments/$task.ts" "$@"
else
  set -- "$root/experiments/$task.ts" "$@"
fi

# Little of what a step makes outlives it: V8 would grow its nursery by 30 MiB within 700 steps for nothing.
exec "${SAMLORA_DENO:-deno}" run --no-prompt --v8-flags=--max-semi-space-size=1 \
  "--config=$root/deno.json" "--allow-read=$reads" \
  "--allow-write=${writes#,}" --allow-env=SAMLORA_CACHE,XDG_CACHE_HOME,HOME $foreign "$@"
