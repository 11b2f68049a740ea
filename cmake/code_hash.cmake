# SPDX-License-Identifier: Apache-2.0
# cmake -DSOURCE=src -DBACKENDS=cpu|cuda|null -DOUT=code_hash.c -P code_hash.cmake: a hash of each backend's code, which stands in
# the keys of the timing cache, so that changed code is timed again. One hash of everything that a tactic may be made of, the
# operators' and base's headers and threads included: a finer one would have to know what includes what. Text of kernels is
# not in it; the tuner hashes what each problem makes of it.
string(REPLACE "|" ";" BACKENDS "${BACKENDS}")
file(GLOB shared ${SOURCE}/base/*.[ch] ${SOURCE}/op/*.[ch])
set(text "/* Made by cmake/code_hash.cmake */\n#include \"plan/cache.h\"\nconst tenon_code_hash tenon_code_hashes[] = {\n")
foreach(backend ${BACKENDS})
  file(GLOB own ${SOURCE}/${backend}/*.[ch] ${SOURCE}/${backend}/*.def ${SOURCE}/${backend}/prelude.cu)
  set(all "")
  foreach(file ${shared} ${own})
    file(SHA256 ${file} hash)
    get_filename_component(name ${file} NAME)
    string(APPEND all "${name} ${hash}\n")
  endforeach()
  string(SHA256 hash "${all}")
  string(APPEND text "    {\"${backend}\", \"${hash}\"},\n")
endforeach()
file(WRITE ${OUT} "${text}    {NULL, NULL},\n};\n")
