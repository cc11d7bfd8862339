#!/bin/sh
# Stands in for Deno where a test asks what Deno would be started with: one argument a line.
for argument; do printf '%s\n' "$argument"; done
