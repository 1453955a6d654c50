/// Instance segmentation of LiDAR sweeps with an exported model of the Python package bev_instseg.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace bev_instseg {

/// A return: x forward, y left, z up in metres from the sensor, and intensity 0..1.
struct Point {
  float x, y, z, intensity;
};
static_assert(sizeof(Point) == 4 * sizeof(float), "sweeps are read as four floats per point");

/// An upright box; the length is its longer side, and yaw in -pi/2..pi/2 is the length's heading.
struct Box {
  float x, y, z, length, width, height, yaw;  // centre and sides in metres, yaw in radians
};

/// A place on the course of a lane line or kerb, metres.
struct Vertex {
  float x, y, z;
};

constexpr int kGroundLabel = 40;   ///< Class of the ground in .label files, SemanticKITTI's road.
constexpr int kUnknownLabel = 99;  ///< Class of unknown objects, SemanticKITTI's other-object.
constexpr const char* kUnknownName = "unknown";

/// What a segmenter finds besides the objects of the model's classes.
struct Extras {
  bool unknown = false;  ///< Whether to group other objects that stand on the ground.
  bool ground = false;   ///< Whether to find the points on the ground.
};

/// One object.
struct Instance {
  int number;        ///< 1..K: its points are those with this label.
  int class_index;   ///< Index into `Segmenter::class_names`.
  int class_label;   ///< Number of the class in .label files, 1..65535.
  std::string name;  ///< Name of the class.
  float score;       ///< 0..1; a probability if the model is calibrated, as the shipped one is; 0
                     ///< for unknown objects, which have not been classified.
  int num_points;
  Box box;
  std::vector<Vertex> course;  ///< The line through its points, in order, if its class is learned
                               ///< in pieces, such as lane markings; else empty.
};

/// The objects of a sweep.
struct Result {
  std::vector<std::int32_t> labels;  ///< Of each point: 0 for no object, 1..K for an instance.
  std::vector<Instance> instances;   ///< By descending score; then unknown objects, largest first.
  std::vector<std::uint8_t> ground;  ///< Of each point: 1 on the ground; empty unless asked for.
  std::vector<std::string> warnings;  ///< A sentence for each sign that the points may be wrong.
};

/// Segments sweeps; equal to `Segmenter.from_checkpoint(model, runtime="openvino")` in Python.
///
/// It keeps the memory of a sweep for the next one, so only one thread may use it at a time.
class Segmenter {
 public:
  /// Load what `bev-instseg export` wrote, or bev_instseg/weights/default.int8.onnx.
  ///
  /// @param model The .onnx, or the .xml with its .bin; the .json must be beside it.
  /// @param num_threads Number of threads of the network; 0 lets OpenVINO choose.
  /// @param extras What else to find.
  /// @throws std::runtime_error A file cannot be read, is damaged or is not such a model, or one of
  ///     its classes has the name or label of an extra. The message is one line with file, reason
  ///     and remedy.
  explicit Segmenter(const std::string& model, int num_threads = 0, Extras extras = {});
  ~Segmenter();
  Segmenter(Segmenter&&) noexcept;
  Segmenter& operator=(Segmenter&&) noexcept;

  /// Find the instances of one sweep.
  ///
  /// @param points The points. Those outside the model's grid and those with a NaN or infinite
  ///     coordinate get label 0.
  /// @param num_points The number of points.
  /// @throws std::runtime_error There are more than 2^31 - 1 points, or OpenVINO fails.
  Result segment(const Point* points, std::size_t num_points);
  Result segment(const std::vector<Point>& points) {
    return segment(points.data(), points.size());
  }

  /// The names of the model's classes, and "unknown" if requested.
  std::vector<std::string> class_names() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace bev_instseg
