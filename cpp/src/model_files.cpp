#include "model_files.hpp"

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "sha256.hpp"

namespace bev_instseg {
namespace {

using std::filesystem::path;
constexpr const char* kFormat = "bev_instseg/1";

std::string read_file(const path& file) {
  std::error_code error;
  const auto size = std::filesystem::file_size(file, error);  // of plain files only
  std::string bytes(error ? 0 : size, '\0');
  std::ifstream stream(file, std::ios::binary);
  if (error || !stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
    throw std::runtime_error(file.string() + ": cannot be read (" +
                             (error ? error.message() : "is it readable?") +
                             "); exported models have a .json beside them");
  }
  return bytes;
}

Json read_sidecar(const path& beside, const path& model) {
  const std::string text = read_file(beside);
  try {
    Json sidecar = Json::parse(text);
    const std::string found = sidecar.at("format").text("format");
    if (found == kFormat) return sidecar;
    throw std::runtime_error("format " + found + ", expected " + kFormat);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(beside.string() + ": not written by this version of bev-instseg, or " +
                             "damaged (" + error.what() + "); copy " + model.filename().string() +
                             " and it again");
  }
}

/// Refuse changes of the settings that the network was made for; as _network_sha256 in Python.
void check_network(const Json& sidecar) {
  const Json* found = sidecar.find("network_sha256");  // older files have none
  if (!found) return;
  const auto& classes = sidecar.at("config.classes").array("config.classes");
  const std::string fixed = "[" + sidecar.at("config.model").dump() + ", " +
                            sidecar.at("config.grid.cell_m").dump() + ", " +
                            std::to_string(classes.size()) + "]";
  if (sha256(fixed) != found->text("network_sha256")) {
    throw std::runtime_error("its model, grid.cell_m or number of classes were changed, and no "
                             "longer fit the network");
  }
}

}  // namespace

ModelFiles read_model_files(const std::string& name) {
  const path file(name);
  if (file.extension() != ".onnx" && file.extension() != ".xml") {
    throw std::runtime_error(name + ": is not an exported model; give the .onnx or .xml that "
                             "bev-instseg export wrote");
  }
  const path beside = path(file).replace_extension(".json");
  const Json sidecar = read_sidecar(beside, file);
  ModelFiles files;
  files.model = read_file(file);
  if (file.extension() == ".xml") files.weights = read_file(path(file).replace_extension(".bin"));
  try {
    if (sha256(files.model + files.weights) != sidecar.at("sha256").text("sha256")) {
      throw std::runtime_error("its SHA-256 differs from the one in " + beside.filename().string());
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(name + ": damaged (" + error.what() + "); copy both files again");
  }
  try {
    check_network(sidecar);
    files.config = read_config(sidecar);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(beside.string() + ": " + error.what() +
                             "; correct it, or copy both files again");
  }
  return files;
}

}  // namespace bev_instseg
