/// Files of exported models; a .json beside each vouches for it.
#pragma once

#include <string>

#include "config.hpp"

namespace bev_instseg {

struct ModelFiles {
  std::string model;    // the .onnx, or the .xml of OpenVINO
  std::string weights;  // the .bin of OpenVINO, else empty
  Config config;
};

/// Read an exported model and check it against its .json.
///
/// @param path The .onnx, or the .xml with its .bin beside it.
/// @throws std::runtime_error A file cannot be read, is damaged or was not written by bev-instseg.
ModelFiles read_model_files(const std::string& path);

}  // namespace bev_instseg
