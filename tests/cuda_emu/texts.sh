#!/bin/sh
# Programs' kernels through NVIDIA's compiler: texts.sh PLAIT CHECK FOLDER < list, a line "FILE [OPTIONS of emit]" for each text.
plait=$1 check=$2 folder=$3 n=0
mkdir -p "$folder"
rm -f "$folder"/*.cu
while read -r file options; do
  case $file in '' | '#'*) continue ;; esac
  n=$((n + 1))
  # shellcheck disable=SC2086
  "$plait" emit "$file" --target cuda $options -o "$folder/$n.cu" || exit 1
done
exec "$check" "$folder"/*.cu
