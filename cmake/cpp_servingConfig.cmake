# find_package(cpp_serving) gives the target cpp_serving::cpp_serving.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/cpp_servingTargets.cmake")
