// The part of a scorer's file that says which features there are and how they are computed.
#ifndef CPP_SERVING_SRC_PROGRAM_H_
#define CPP_SERVING_SRC_PROGRAM_H_

#include "cpp_serving/model.h"
#include "section_reader.h"

namespace cpp_serving {

// Fills the model's features, counts and money from the sections names, program, edges and
// vocabularies. Throws Error(kArtifact).
void ReadProgram(const SectionReader& reader, Model* model);

}  // namespace cpp_serving

#endif  // CPP_SERVING_SRC_PROGRAM_H_
