# cmake -DOUT=file.c -DFILES="a.plait;b.plait" -P embed.cmake
#
# Writes the table std_files[] (frontend/import.h) with the text of each file, in the order given and ended by a row of
# nulls.
set(arrays "")
set(rows "")
set(i 0)
foreach(path IN LISTS FILES)
  get_filename_component(name ${path} NAME)
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n  " bytes "${bytes}")
  string(APPEND arrays "static const unsigned char text_${i}[] = {\n  ${bytes}0x00\n};\n\n")
  string(APPEND rows "  {\"${name}\", (const char *)text_${i}, sizeof text_${i} - 1},\n")
  math(EXPR i "${i} + 1")
endforeach()
file(WRITE ${OUT} "// Written by cmake/embed.cmake from the standard library's files.\n#include \"frontend/import.h\"\n\n"
  "${arrays}const struct StdFile std_files[] = {\n${rows}  {0, 0, 0},\n};\n")
