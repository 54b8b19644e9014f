// XGBoost's schema, once for both of its formats.
#include <algorithm>
#include <cstring>
#include <functional>

#include "model_writers.h"

using namespace cpp_serving;

namespace {

// One document, in either format.
class Writer {
 public:
  explicit Writer(bool ubjson) : ubjson_(ubjson) {}

  void Object(const std::function<void()>& members) {
    out += '{';
    first_ = true;
    members();
    out += '}';
    first_ = false;
  }
  void Key(const std::string& name) {
    if (ubjson_) {
      Length(name.size());
      out += name;
      return;
    }
    Comma();
    Quote(name);
    out += ':';
    first_ = true;
  }
  void Array(std::size_t count, const std::function<void(std::size_t)>& element) {
    out += ubjson_ ? "[#" : "[";
    if (ubjson_) Length(count);
    first_ = true;
    for (std::size_t i = 0; i < count; ++i) element(i);
    if (!ubjson_) out += ']';
    first_ = false;
  }
  void Text(const std::string& text) {
    if (ubjson_) {
      out += 'S';
      Length(text.size());
      out += text;
    } else {
      Comma();
      Quote(text);
    }
  }
  void Whole(std::int64_t value) {
    if (!ubjson_) return Plain(std::to_string(value));
    out += 'L';
    BigEndian(static_cast<std::uint64_t>(value), 8);
  }
  void Real(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (ubjson_) {
      out += 'd';
      return BigEndian(bits, 4);
    }
    char text[64];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(value));
    Plain(text);
  }
  // A comma goes before every element but the first.
  void Comma() {
    if (!first_ && !ubjson_) out += ',';
    first_ = false;
  }

  std::string out;

 private:
  void Plain(const std::string& text) {
    Comma();
    out += text;
  }
  void Quote(const std::string& text) {
    out += '"';
    for (const char c : text) {
      char escaped[8];
      if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) {
        std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c) & 0xFF);
        out += escaped;
      } else {
        out += c;
      }
    }
    out += '"';
  }
  void Length(std::size_t length) {
    out += 'L';
    BigEndian(length, 8);
  }
  void BigEndian(std::uint64_t value, int bytes) {
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
      out += static_cast<char>(value >> shift);
    }
  }

  bool ubjson_;
  bool first_ = true;
};

void WriteTree(const BoostedTrees& model, const BoostedTree& tree, Writer* writer) {
  const std::size_t count = tree.nodes.size();
  const auto each = [&](const char* name, const std::function<void(const Node&)>& value) {
    writer->Key(name);
    writer->Array(count, [&](std::size_t i) { value(tree.nodes[i]); });
  };
  const auto column = [&](const Node& node) -> const InputColumn& {
    return model.columns[node.feature & Node::kFeatureMask];
  };
  const auto is_leaf = [](const Node& node) { return node.feature == Node::kLeaf; };
  const auto categorical = [&](const Node& node) {
    return !is_leaf(node) && column(node).kind == InputColumn::Kind::kIsIn;
  };
  std::vector<std::int64_t> nodes, segments, sizes, categories;
  for (std::size_t i = 0; i < count; ++i) {
    if (!categorical(tree.nodes[i])) continue;
    const auto& own = column(tree.nodes[i]).categories;
    nodes.push_back(static_cast<std::int64_t>(i));
    segments.push_back(static_cast<std::int64_t>(categories.size()));
    sizes.push_back(static_cast<std::int64_t>(own.size()));
    categories.insert(categories.end(), own.begin(), own.end());
  }
  const auto integers = [&](const char* name, const std::vector<std::int64_t>& values) {
    writer->Key(name);
    writer->Array(values.size(), [&](std::size_t i) { writer->Whole(values[i]); });
  };
  writer->Object([&] {
    integers("categories", categories);
    integers("categories_nodes", nodes);
    integers("categories_segments", segments);
    integers("categories_sizes", sizes);
    each("default_left", [&](const Node& node) {
      writer->Whole(!is_leaf(node) && (node.feature & Node::kMissingGoesLeft) != 0 ? 1 : 0);
    });
    each("left_children",
         [&](const Node& node) { writer->Whole(is_leaf(node) ? -1 : std::int64_t{node.left}); });
    each("right_children", [&](const Node& node) {
      writer->Whole(is_leaf(node) ? -1 : std::int64_t{node.left} + 1);
    });
    each("split_conditions", [&](const Node& node) {
      writer->Real(is_leaf(node) ? tree.leaf_weights[node.left] : node.threshold);
    });
    each("split_indices",
         [&](const Node& node) { writer->Whole(is_leaf(node) ? 0 : column(node).feature); });
    each("split_type", [&](const Node& node) { writer->Whole(categorical(node) ? 1 : 0); });
    writer->Key("tree_param");
    writer->Object([&] {
      writer->Key("num_nodes");
      writer->Text(std::to_string(count));
    });
  });
}

std::string Written(const BoostedTrees& model, bool ubjson) {
  Writer writer(ubjson);
  const auto text = [&](const char* name, const std::string& value) {
    writer.Key(name);
    writer.Text(value);
  };
  const auto booster = [&] {
    text("name", "gbtree");
    writer.Key("model");
    writer.Object([&] {
      writer.Key("gbtree_model_param");
      writer.Object([&] { text("num_trees", std::to_string(model.trees.size())); });
      writer.Key("iteration_indptr");
      writer.Array(model.iterations.size(),
                   [&](std::size_t i) { writer.Whole(model.iterations[i]); });
      writer.Key("tree_info");
      writer.Array(model.trees.size(), [&](std::size_t i) { writer.Whole(model.trees[i].output); });
      writer.Key("trees");
      writer.Array(model.trees.size(), [&](std::size_t i) {
        writer.Comma();
        WriteTree(model, model.trees[i], &writer);
      });
    });
  };
  writer.Object([&] {
    writer.Key("learner");
    writer.Object([&] {
      writer.Key("feature_names");
      writer.Array(model.feature_names.size(),
                   [&](std::size_t i) { writer.Text(model.feature_names[i]); });
      writer.Key("gradient_booster");
      writer.Object(booster);
      writer.Key("learner_model_param");
      writer.Object([&] {
        text("base_score", "5E-1");
        text("num_class", std::to_string(model.num_outputs));
        text("num_feature", std::to_string(model.num_features));
      });
      writer.Key("objective");
      writer.Object([&] { text("name", model.objective); });
    });
    // The version decides what some objectives mean.
    std::vector<std::int64_t> version;
    for (std::size_t at = 0; at < model.version.size();) {
      version.push_back(std::stoll(model.version.substr(at)));
      at = std::min(model.version.find('.', at), model.version.size() - 1) + 1;
    }
    writer.Key("version");
    writer.Array(version.size(), [&](std::size_t i) { writer.Whole(version[i]); });
  });
  return std::move(writer.out);
}

}  // namespace

std::string AsJson(const BoostedTrees& model) { return Written(model, false); }

std::string AsUbjson(const BoostedTrees& model) { return Written(model, true); }
