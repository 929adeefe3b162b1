# What llama-cpp-python's own build leaves out: llama.cpp's server and its converter.
#
# CMake includes this file twice by CMAKE_PROJECT_llama.cpp_INCLUDE: at the beginning of llama.cpp's
# CMakeLists.txt, where it chooses what is built, and at its end, where it adds what is installed.
# Everything comes from one source package, so the converter fits the library that reads its files.

if(NOT TARGET llama-server)
    foreach(option LLAMA_BUILD_TOOLS LLAMA_BUILD_SERVER)
        set(${option} ON CACHE BOOL "" FORCE)
    endforeach()
    # The page would be downloaded during the build. LLAVA_BUILD would add mtmd a second time.
    foreach(option LLAVA_BUILD LLAMA_BUILD_UI LLAMA_USE_PREBUILT_UI LLAMA_OPENSSL)
        set(${option} OFF CACHE BOOL "" FORCE)
    endforeach()
    cmake_language(EVAL CODE "cmake_language(DEFER CALL include [[${CMAKE_CURRENT_LIST_FILE}]])")
    return()
endif()

if(APPLE)
    set(beside "@loader_path")
else()
    set(beside "$ORIGIN")
endif()
set(programs llama-server llama-server-impl mtmd llama-common)
set_target_properties(${programs} PROPERTIES INSTALL_RPATH "${beside}")
set(package "${SKBUILD_PLATLIB_DIR}/llama_cpp")
install(TARGETS ${programs}
    RUNTIME DESTINATION "${package}/lib"
    LIBRARY DESTINATION "${package}/lib")
install(FILES convert_hf_to_gguf.py DESTINATION "${package}/converter")
install(DIRECTORY conversion gguf-py
    DESTINATION "${package}/converter" FILES_MATCHING PATTERN "*.py")
