/// A reader of JSON (RFC 8259), strict: nothing but the document, no duplicate keys.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace bev_instseg {

class Json {
 public:
  struct Number {
    double value;
    std::string text;  // as in the document
  };
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the document

  /// @throws std::runtime_error It is not valid JSON; the message names the line and the reason.
  static Json parse(std::string_view text);

  /// Return a member of an object; null if it is missing or the value is not an object.
  const Json* find(std::string_view key) const;

  /// Return the value at a path of keys such as "config.grid.cell_m".
  ///
  /// @throws std::runtime_error A key is missing.
  const Json& at(std::string_view path) const;

  /// Return the value as a type.
  ///
  /// @param name How messages call the value.
  /// @throws std::runtime_error It has another type, or is not a whole number that fits.
  double number(const std::string& name) const;
  int whole_number(const std::string& name) const;
  bool boolean(const std::string& name) const;
  const std::string& text(const std::string& name) const;
  const Array& array(const std::string& name) const;
  const Object& object(const std::string& name) const;

  /// Return the value as Python's json.dumps(value, sort_keys=True) writes it, but numbers and
  /// texts as they are in the document.
  std::string dump() const;

  std::variant<std::nullptr_t, bool, Number, std::string, Array, Object> value;
};

}  // namespace bev_instseg
