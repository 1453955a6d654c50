#include "json.hpp"

#include <algorithm>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstdint>
#include <stdexcept>

namespace bev_instseg {
namespace {

constexpr int kMaxDepth = 100;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json json = value(0);
    skip_space();
    if (at_ != text_.size()) fail("something follows the end");
    return json;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    const auto line = 1 + std::count(text_.begin(), text_.begin() + at_, '\n');
    throw std::runtime_error("line " + std::to_string(line) + ": " + reason);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  void expect(std::string_view word) {
    if (!take(word)) fail("'" + std::string(word) + "' is missing");
  }

  Json value(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    skip_space();
    if (peek() == '{') return {object(depth)};
    if (peek() == '[') return {array(depth)};
    if (peek() == '"') return {string()};
    if (take("true")) return {true};
    if (take("false")) return {false};
    if (take("null")) return {nullptr};
    return {number()};
  }

  Json::Object object(int depth) {
    Json::Object members;
    expect("{");
    skip_space();
    if (take("}")) return members;
    do {
      skip_space();
      std::string key = string();
      for (const auto& member : members) {
        if (member.first == key) fail("duplicate key '" + key + "'");
      }
      skip_space();
      expect(":");
      members.emplace_back(std::move(key), value(depth + 1));
      skip_space();
    } while (take(","));
    expect("}");
    return members;
  }

  Json::Array array(int depth) {
    Json::Array items;
    expect("[");
    skip_space();
    if (take("]")) return items;
    do {
      items.push_back(value(depth + 1));
      skip_space();
    } while (take(","));
    expect("]");
    return items;
  }

  Json::Number number() {
    const auto is_digit = [this] { return peek() >= '0' && peek() <= '9'; };
    const auto skip_digits = [&] {
      if (!is_digit()) fail("not a JSON value");
      while (is_digit()) ++at_;
    };
    const std::size_t first = at_;
    take("-");
    if (!take("0")) skip_digits();
    if (take(".")) skip_digits();
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      skip_digits();
    }
    const std::string_view digits = text_.substr(first, at_ - first);
    double result = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, result);
    if (error != std::errc() || stop != end) fail("a number that float64 cannot hold");
    return {result, std::string(digits)};
  }

  std::string string() {
    std::string result;
    expect("\"");
    while (!take("\"")) {
      if (at_ == text_.size()) fail("a text does not end");
      const char c = text_[at_++];
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a text");
      if (c == '\\') {
        escape(result);
      } else {
        result += c;
      }
    }
    return result;
  }

  void escape(std::string& result) {
    constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (const std::size_t found = names.find(c); found != names.npos) {
      result += values[found];
      ++at_;
    } else if (take("u")) {
      append_utf8(result, code_point());
    } else {
      fail("an unknown escape in a text");
    }
  }

  std::uint32_t code_point() {
    const std::uint32_t high = hex4();
    if (high < 0xD800 || high > 0xDFFF) return high;
    const bool has_low = high < 0xDC00 && take("\\u");
    const std::uint32_t low = has_low ? hex4() : 0;
    if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair in a text");
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  std::uint32_t hex4() {
    std::uint32_t result = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, result, 16);
    if (digits.size() < 4 || error != std::errc() || stop != end) fail("\\u needs four digits");
    at_ += 4;
    return result;
  }

  static void append_utf8(std::string& result, std::uint32_t code) {
    if (code < 0x80) {
      result += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;  // bytes after the first
    constexpr std::uint32_t prefixes[] = {0, 0xC0, 0xE0, 0xF0};
    result += static_cast<char>(prefixes[more] | code >> 6 * more);
    for (int n = more - 1; n >= 0; --n) result += static_cast<char>(0x80 | (code >> 6 * n & 0x3F));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

template <typename T>
const T& get(const Json& json, const std::string& name, const char* kind) {
  const T* found = std::get_if<T>(&json.value);
  if (!found) throw std::runtime_error(name + " is not " + kind);
  return *found;
}

std::string quoted(const std::string& text) { return '"' + text + '"'; }

std::string joined(const std::vector<std::string>& parts) {
  std::string result;
  for (const std::string& part : parts) result += (result.empty() ? "" : ", ") + part;
  return result;
}

}  // namespace

Json Json::parse(std::string_view text) { return Parser(text).document(); }

const Json* Json::find(std::string_view key) const {
  if (const auto* members = std::get_if<Object>(&value)) {
    for (const auto& member : *members) {
      if (member.first == key) return &member.second;
    }
  }
  return nullptr;
}

const Json& Json::at(std::string_view path) const {
  const Json* json = this;
  for (std::size_t first = 0; first <= path.size();) {
    const std::size_t end = std::min(path.find('.', first), path.size());
    json = json->find(path.substr(first, end - first));
    if (!json) throw std::runtime_error(std::string(path.substr(0, end)) + " is missing");
    first = end + 1;
  }
  return *json;
}

double Json::number(const std::string& name) const {
  return get<Number>(*this, name, "a number").value;
}

bool Json::boolean(const std::string& name) const {
  return get<bool>(*this, name, "true or false");
}

int Json::whole_number(const std::string& name) const {
  const double found = number(name);
  if (found != std::trunc(found) || std::abs(found) > INT_MAX) {
    throw std::runtime_error(name + " is not a whole number below 2^31");
  }
  return static_cast<int>(found);
}

const std::string& Json::text(const std::string& name) const {
  return get<std::string>(*this, name, "a text");
}

const Json::Array& Json::array(const std::string& name) const {
  return get<Array>(*this, name, "a list");
}

const Json::Object& Json::object(const std::string& name) const {
  return get<Object>(*this, name, "a group of settings");
}

std::string Json::dump() const {
  if (const auto* found = std::get_if<Number>(&value)) return found->text;
  if (const auto* found = std::get_if<std::string>(&value)) return quoted(*found);
  if (const auto* found = std::get_if<bool>(&value)) return *found ? "true" : "false";
  std::vector<std::string> parts;
  if (const auto* found = std::get_if<Array>(&value)) {
    for (const Json& item : *found) parts.push_back(item.dump());
    return "[" + joined(parts) + "]";
  }
  if (const auto* found = std::get_if<Object>(&value)) {
    for (const auto& [key, item] : *found) parts.push_back(quoted(key) + ": " + item.dump());
    std::sort(parts.begin(), parts.end());
    return "{" + joined(parts) + "}";
  }
  return "null";
}

}  // namespace bev_instseg
