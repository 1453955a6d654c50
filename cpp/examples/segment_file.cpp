/// Segments sweeps of four float32 per point (x, y, z in metres, intensity 0..1), as KITTI's .bin.

#include <algorithm>
#include <bev_instseg/segmenter.hpp>
#include <chrono>
#include <cstdio>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

using bev_instseg::Point;
using bev_instseg::Result;
using bev_instseg::Segmenter;

constexpr const char* kUsage =
    "usage: segment_file MODEL SWEEP... [--unknown] [--ground] [--out DIR] [--repeat N]\n"
    "                    [--threads N]\n"
    "  MODEL        .onnx or .xml with its .json, from bev-instseg export\n"
    "  SWEEP        .bin of four float32 per point: x, y, z in metres, intensity 0..1\n"
    "  --unknown    also find other objects that stand on the ground\n"
    "  --ground     also find the points on the ground\n"
    "  --out DIR    write a SemanticKITTI .label file for each sweep\n"
    "  --repeat N   segment each sweep N times and print the median time\n"
    "  --threads N  threads of the network (default: OpenVINO chooses)\n";

struct Arguments {
  std::string model;
  std::vector<std::string> sweeps;
  std::string out;
  int repeat = 1;
  int threads = 0;
  bev_instseg::Extras extras;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--unknown" || word == "--ground") {
      (word == "--unknown" ? arguments.extras.unknown : arguments.extras.ground) = true;
      continue;
    }
    const bool is_option = word == "--out" || word == "--repeat" || word == "--threads";
    if (!is_option && word.rfind("--", 0) != 0) {
      files.push_back(word);
      continue;
    }
    const char* value = is_option && i + 1 < argc ? argv[++i] : "";
    int& number = word == "--repeat" ? arguments.repeat : arguments.threads;
    if (word == "--out") {
      arguments.out = value;
    } else {
      char* end = nullptr;
      const long parsed = std::strtol(value, &end, 10);
      number = !*end && parsed >= 1 && parsed <= 1'000'000 ? static_cast<int>(parsed) : 0;
    }
    if (word == "--out" ? arguments.out.empty() : number < 1) {
      throw std::invalid_argument(word + ": unknown, or its value is missing or wrong");
    }
  }
  if (files.size() < 2) throw std::invalid_argument("a model and a sweep are needed");
  arguments.model = files[0];
  arguments.sweeps.assign(files.begin() + 1, files.end());
  return arguments;
}

std::vector<Point> read_points(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (!error && size % sizeof(Point) != 0) {
    throw std::runtime_error(path + ": " + std::to_string(size) +
                             " bytes are not four float32 per point; convert it");
  }
  std::vector<Point> points(error ? 0 : size / sizeof(Point));
  std::ifstream file(path, std::ios::binary);
  const auto num_bytes = static_cast<std::streamsize>(points.size() * sizeof(Point));
  if (error || !file.read(reinterpret_cast<char*>(points.data()), num_bytes)) {
    throw std::runtime_error(path + ": cannot be read (" +
                             (error ? error.message() : "is it readable?") + "); check the path");
  }
  return points;
}

std::filesystem::path label_file(const Arguments& arguments, const std::string& sweep) {
  const auto name = std::filesystem::path(sweep).filename().replace_extension(".label");
  return std::filesystem::path(arguments.out) / name;
}

/// Refuse to replace labels, be they there already or those of another sweep of the same name.
void check_label_files(const Arguments& arguments) {
  std::set<std::filesystem::path> names;
  for (const std::string& sweep : arguments.sweeps) {
    const std::filesystem::path path = label_file(arguments, sweep);
    if (!names.insert(path).second) {
      throw std::runtime_error(sweep + ": another sweep has this name; segment it separately");
    }
    if (std::filesystem::exists(path)) {
      throw std::runtime_error(path.string() + ": exists; move it or choose another --out");
    }
  }
}

/// Write each point's class in the low and instance in the high 16 bits; 0: neither object nor
/// ground.
void write_labels(const std::filesystem::path& path, const Result& result) {
  std::vector<std::uint32_t> words = {0};
  for (const auto& one : result.instances) {
    words.push_back(static_cast<std::uint32_t>(one.number) << 16 | one.class_label);
  }
  if (words.size() > 0x10000) {
    throw std::runtime_error(path.string() + ": a .label file holds at most 65535 instances");
  }
  std::ofstream file(path, std::ios::binary);
  for (std::size_t i = 0; i < result.labels.size(); ++i) {
    const bool is_ground = !result.ground.empty() && result.ground[i];
    const std::uint32_t word = is_ground ? bev_instseg::kGroundLabel : words[result.labels[i]];
    file.write(reinterpret_cast<const char*>(&word), sizeof word);
  }
  if (!file.flush()) throw std::runtime_error(path.string() + ": cannot be written; check --out");
}

void print(const std::string& sweep, const Result& result, double median_ms) {
  for (const std::string& warning : result.warnings) {
    std::fprintf(stderr, "%s: %s\n", sweep.c_str(), warning.c_str());
  }
  std::printf("%s: %zu points, %zu instances, ", sweep.c_str(), result.labels.size(),
              result.instances.size());
  if (!result.ground.empty()) {
    std::printf("%td on the ground, ", std::count(result.ground.begin(), result.ground.end(), 1));
  }
  std::printf("%.1f ms\n", median_ms);
  if (result.instances.empty()) return;
  std::puts("number class score points x y z length width height yaw");
  for (const auto& one : result.instances) {
    const bev_instseg::Box& box = one.box;
    std::printf("%d %s %.6f %d %.6f %.6f %.6f %.6f %.6f %.6f %.6f\n", one.number, one.name.c_str(),
                one.score, one.num_points, box.x, box.y, box.z, box.length, box.width, box.height,
                box.yaw);
  }
  for (const auto& one : result.instances) {
    if (one.course.empty()) continue;
    std::printf("course %d", one.number);
    for (const bev_instseg::Vertex& at : one.course) {
      std::printf(" %.3f,%.3f,%.3f", at.x, at.y, at.z);
    }
    std::puts("");
  }
}

void run(const Arguments& arguments) {
  if (!arguments.out.empty()) {
    check_label_files(arguments);
    std::filesystem::create_directories(arguments.out);
  }
  Segmenter segmenter(arguments.model, arguments.threads, arguments.extras);
  for (const std::string& sweep : arguments.sweeps) {
    const std::vector<Point> points = read_points(sweep);
    Result result;
    std::vector<double> times_ms;
    for (int n = 0; n < arguments.repeat; ++n) {
      const auto start = std::chrono::steady_clock::now();
      result = segmenter.segment(points);
      const std::chrono::duration<double, std::milli> time =
          std::chrono::steady_clock::now() - start;
      times_ms.push_back(time.count());
    }
    std::sort(times_ms.begin(), times_ms.end());
    print(sweep, result, times_ms[times_ms.size() / 2]);
    if (!arguments.out.empty()) write_labels(label_file(arguments, sweep), result);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  try {
    arguments = parse(argc, argv);
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "%s%s\n", kUsage, error.what());
    return 2;
  }
  try {
    run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "segment_file: %s\n", error.what());
    return 1;
  }
  return 0;
}
