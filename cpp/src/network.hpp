/// The exported network in OpenVINO; as bev_instseg/engines/openvino_engine.py.
#pragma once

#include <openvino/openvino.hpp>
#include <string>

#include "embeddings.hpp"
#include "network_input.hpp"

namespace bev_instseg {

class Network {
 public:
  /// @param model The .onnx, or the .xml of OpenVINO.
  /// @param weights The .bin of OpenVINO, else empty.
  /// @param num_threads Number of threads; 0 lets OpenVINO choose.
  /// @throws ov::Exception OpenVINO cannot load the model.
  Network(const std::string& model, const std::string& weights, const Config& config, int num_threads);

  /// Number of the model's seed maps, C.
  std::size_t num_classes() const { return num_classes_; }

  /// @param input At least one pillar.
  Embeddings infer(NetworkInput& input, std::size_t num_pillars);

 private:
  ov::Shape map_shape_;
  std::size_t num_classes_;
  ov::InferRequest request_;
};

}  // namespace bev_instseg
