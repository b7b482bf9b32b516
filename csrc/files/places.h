// Distinct strings that strangers choose.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/keyed_hash.h"
#include "core/work.h"

namespace fastdet {

// The place of a name in a list, to which new names are added.
struct Places {
    int64_t operator()(const std::string& name, std::vector<std::string>* names) {
        const auto [at, is_new] = places.try_emplace(name, int64_t(names->size()));
        if (is_new) names->push_back(name);
        return at->second;
    }
    ~Places() { count_pairs(*compared); }

    struct Equal {
        std::shared_ptr<int64_t> compared;
        bool operator()(const std::string& a, const std::string& b) const { return ++*compared, a == b; }
    };
    std::shared_ptr<int64_t> compared = std::make_shared<int64_t>(0);
    std::unordered_map<std::string, int64_t, KeyedHash, Equal> places{0, KeyedHash(), Equal{compared}};
};

}  // namespace fastdet
