# SPDX-License-Identifier: Apache-2.0
# cmake -DFILES=a.cu|b.cu -DOUT=text.c -DPREFIX=tenon_cuda_src_ -P embed.cmake: writes each file as the byte array PREFIX<name>, zero
# at its end. Bytes rather than string literals: no escaping rules, and no limit on a literal's length.
string(REPLACE "|" ";" FILES "${FILES}")
set(text "/* Made by cmake/embed.cmake */\ntypedef int ${PREFIX}made;\n")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WE)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "((0x..,){24})" "\\1\n" bytes "${bytes}")
  string(APPEND text "extern const char ${PREFIX}${name}[];\nconst char ${PREFIX}${name}[] = {\n${bytes}0x00};\n")
endforeach()
file(WRITE ${OUT} "${text}")
