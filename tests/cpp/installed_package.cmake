# Installs the library of a build, builds examples/cpp against it, and compares what it prints.
set(prefix ${BUILD}/installed)
set(example ${BUILD}/installed_example)
file(REMOVE_RECURSE ${prefix} ${example})
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
endfunction()
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
run(${CMAKE_COMMAND} -S ${SOURCE}/examples/cpp -B ${example} -G ${GENERATOR}
  -DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${example})
execute_process(COMMAND ${example}/score_model ${SOURCE}/examples/cpp/model.json
  INPUT_FILE ${SOURCE}/examples/cpp/rows.csv OUTPUT_VARIABLE printed COMMAND_ERROR_IS_FATAL ANY)
file(READ ${SOURCE}/examples/cpp/scores.txt expected)
if(NOT printed STREQUAL expected)
  message(FATAL_ERROR "the example printed\n${printed}and not\n${expected}")
endif()
execute_process(COMMAND ${example}/score_model ${SOURCE}/examples/cpp/rows.csv
  INPUT_FILE ${SOURCE}/examples/cpp/rows.csv ERROR_VARIABLE refused RESULT_VARIABLE code)
if(NOT code EQUAL 2 OR NOT refused MATCHES "fix:")
  message(FATAL_ERROR "a file that is no model ended with ${code}: ${refused}")
endif()
