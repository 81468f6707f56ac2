// nanobind's own sources, compiled into the extension.
#include "nb_combined.cpp"
