// Canonical token sequences as an automaton that is found as texts are read: a state is where a context ends, which is
// all that decides what may follow. Definition: Tokenizer in engine/tokenizers/base.py. Included by kernels.cpp.

struct State;
using StatePtr = std::shared_ptr<State>;

struct State {
    const std::vector<int32_t> tokens;
    const int32_t group; // of tokens like which these look together, -1 for none
    std::shared_ptr<const Successors> rule;                  // once it was asked for; masks are asked for again
    bool tells_ends = false;                                 // the rule tells where the text may end, too
    std::unordered_map<int32_t, std::weak_ptr<State>> behind; // by the next token
    std::unordered_map<std::string, bool> goes_on;           // by text

    State(std::vector<int32_t> tokens, int32_t group) : tokens(std::move(tokens)), group(group) {}
};

nb::tuple tuple_of(const std::vector<int32_t> &tokens, const int32_t *last = nullptr) {
    nb::list found;
    for (int32_t token : tokens) found.append(token);
    if (last) found.append(*last);
    return nb::tuple(found);
}

// What was found for one tokenizer. It does not hold the tokenizer, so that this one may hold it.
class Automaton {
  public:
    // The tokenizer is any one of engine/tokenizers; its tokens' groups are those of `Tokenizer.alone`.
    explicit Automaton(nb::object tokenizer) : tables(parsed<ByteTables>(nb::cast<nb::tuple>(tokenizer.attr("vocab").attr("tables")))) {
        const nb::object alone = tokenizer.attr("alone");
        if (alone.is_none()) return;
        group_of = nb::cast<In<int32_t>>(alone.attr("group_of"));
        merges_into_broken = nb::cast<nb::bytes>(alone.attr("merges_into_broken"));
        groups = nb::cast<size_t>(alone.attr("groups"));
        require(group_of.size() == tables->row_of.size() && merges_into_broken.size() == group_of.size(),
                "tokens, groups and merges differ in length");
        for (size_t i = 0; i < group_of.size(); ++i)
            require(group_of.data()[i] < static_cast<int64_t>(groups), "there is no such group");
        stable = answers(alone.attr("stable")), joined = answers(alone.attr("joined"));
        rules.resize(groups);
    }

    const std::shared_ptr<const ByteTables> tables;

    // The state behind canonical tokens.
    StatePtr at(const nb::object &tokenizer, const nb::tuple &tokens) {
        return intern(nb::cast<std::vector<int32_t>>(tokenizer.attr("context_end")(tokens)));
    }

    StatePtr behind(const nb::object &tokenizer, State &state, int32_t token) {
        if (state.tokens.empty()) return alone(token);
        if (state.group >= 0 && group(token) >= 0)
            if (StatePtr found = behind_group(tokenizer, state, token)) return found;
        std::weak_ptr<State> &known = noted(state.behind)[token];
        if (StatePtr found = known.lock()) return found;
        StatePtr found = at(tokenizer, tuple_of(state.tokens, &token));
        state.behind[token] = found; // the call may have changed what `known` refers to
        return found;
    }

    std::shared_ptr<const Successors> successors(const nb::object &tokenizer, State &state) {
        if (state.rule) return state.rule;
        if (const Rule *rule = state.group < 0 ? nullptr : rule_alone(tokenizer, state.group, state.tokens.back())) {
            state.tells_ends = true;
            return state.rule = std::make_shared<const Successors>(rule->verdicts, state.tokens.back(), rule->forest);
        }
        const auto found = std::make_shared<const Successors>(tokenizer.attr("successor_rule")(tuple_of(state.tokens)));
        require(found->size() == tables->rows(), "order and allowed differ in length");
        return found->is_rule() ? state.rule = found : found;
    }

    // Whether the text may end behind the token, which may follow.
    bool may_end(const nb::object &tokenizer, State &before, int32_t token) {
        const auto allowed = successors(tokenizer, before);
        if (before.tells_ends) return allowed->at(tables->row_of.data()[token]);
        return nb::cast<bool>(tokenizer.attr("may_end")(tuple_of(before.tokens, &token)));
    }

    // Whether some canonical sequence has the bytes of the text behind the state.
    bool goes_on(const nb::object &tokenizer, State &state, const std::string &text) {
        if (text.empty()) return true;
        const auto known = state.goes_on.find(text);
        if (known != state.goes_on.end()) return known->second;
        const bool found = find_goes_on(tokenizer, state, text);
        noted(state.goes_on).emplace(text, found);
        return found;
    }

  private:
    struct Rule {
        bool is_known = false, exists = false, is_simple = false;
        In<int8_t> verdicts;
        std::shared_ptr<const Forest> forest;
    };
    static constexpr int16_t UNASKED = -2, UNTOLD = -1;
    static constexpr size_t MOST_STATES = 4096, MOST_NOTES = 1 << 15;

    In<int32_t> group_of; // -1 for none
    nb::bytes merges_into_broken{""};
    size_t groups = 0, notes = 0;
    std::vector<int16_t> stable, joined; // by two groups
    std::vector<Rule> rules;    // by group
    std::unordered_map<int32_t, StatePtr> singles;
    std::map<std::vector<int32_t>, StatePtr> others;

    // What the tokenizer told of all pairs of groups already.
    std::vector<int16_t> answers(const nb::object &given) const {
        const auto table = nb::cast<In2<int16_t>>(given);
        require(table.shape(0) == groups && table.shape(1) == groups, "groups and the answers of their pairs differ in number");
        return {table.data(), table.data() + groups * groups};
    }

    // Room for one more note; if there are too many, all is forgotten.
    template <typename Notes> Notes &noted(Notes &of) {
        if (++notes > MOST_NOTES) forget();
        return of;
    }

    void forget() {
        for (auto &[token, state] : singles) state->behind.clear(), state->goes_on.clear();
        for (auto &[tokens, state] : others) state->behind.clear(), state->goes_on.clear();
        singles.clear(), others.clear();
        notes = 0;
    }

    StatePtr alone(int32_t token) {
        const auto known = singles.find(token);
        if (known != singles.end()) return known->second;
        return keep(singles, token, {token}, group(token));
    }

    StatePtr intern(std::vector<int32_t> tokens, int32_t group = -1) {
        if (tokens.size() == 1) return alone(tokens[0]);
        const auto known = others.find(tokens);
        if (known != others.end()) return known->second;
        return keep(others, tokens, tokens, group);
    }

    template <typename Kept, typename Key>
    StatePtr keep(Kept &kept, const Key &key, std::vector<int32_t> tokens, int32_t group) {
        if (singles.size() + others.size() >= MOST_STATES) forget();
        return kept.emplace(key, std::make_shared<State>(std::move(tokens), group)).first->second;
    }

    int32_t group(int32_t token) const {
        return groups && token >= 0 && static_cast<size_t>(token) < group_of.size() ? group_of.data()[token] : -1;
    }

    // What the tokenizer says of two groups, asked once; negative for None.
    int told(const nb::object &tokenizer, const char *method, std::vector<int16_t> &known, int32_t left, int32_t right) {
        int16_t &found = known[left * groups + right];
        if (found == UNASKED) {
            const nb::object answer = tokenizer.attr(method)(left, right);
            found = answer.is_none() ? UNTOLD : nb::cast<int16_t>(answer);
        }
        return found;
    }

    // `behind` as far as groups tell it, or null. Several tokens that look like one are parts of one word.
    StatePtr behind_group(const nb::object &tokenizer, const State &state, int32_t token) {
        const int32_t left = state.group, right = group(token);
        const int kept = told(tokenizer, "stable_alone", stable, left, right);
        if (kept == 0) {
            std::vector<int32_t> tokens = state.tokens;
            tokens.push_back(token);
            return intern(std::move(tokens), joined_group(tokenizer, state, token));
        }
        if (kept < 0) return nullptr;
        return kept == 1 ? alone(token) : intern({});
    }

    int32_t joined_group(const nb::object &tokenizer, const State &state, int32_t token) {
        const int32_t found = told(tokenizer, "joined_alone", joined, state.group, group(token));
        if (found < 0) return found;
        require(static_cast<size_t>(found) < groups, "there is no such group");
        const Rule *rule = rule_alone(tokenizer, state.group, state.tokens.back());
        const int64_t row = tables->row_of.data()[token];
        return rule && row >= 0 && !rule->forest->crosses(state.tokens.back(), row) ? found : UNTOLD;
    }

    // What follows tokens that look like one of the group, the last of which is `last`, as far as the group tells, or null.
    const Rule *rule_alone(const nb::object &tokenizer, int32_t number, int32_t last) {
        Rule &rule = rules[number];
        if (!rule.is_known) {
            const nb::object told = tokenizer.attr("rule_alone")(number);
            if (!told.is_none()) {
                const auto fields = nb::cast<nb::tuple>(told);
                rule.verdicts = nb::cast<In<int8_t>>(fields[0]);
                require(rule.verdicts.size() == tables->rows(), "order and verdicts differ in length");
                rule.forest = parsed<Forest>(nb::cast<nb::tuple>(fields[1]));
                rule.is_simple = nb::cast<bool>(fields[2]);
                rule.exists = true;
            }
            rule.is_known = true;
        }
        return rule.exists && (rule.is_simple || !merges_into_broken.c_str()[last]) ? &rule : nullptr;
    }

    // Long tokens are tried first: they are canonical most often.
    bool find_goes_on(const nb::object &tokenizer, State &state, const std::string &text) {
        const auto allowed = successors(tokenizer, state);
        size_t low = 0, high = tables->rows();
        std::vector<size_t> ended;
        for (size_t depth = 0; depth < text.size(); ++depth) {
            std::tie(low, high) = tables->narrow(low, high, depth, static_cast<uint8_t>(text[depth]));
            if (depth + 1 == text.size() || low == high) break;
            const size_t over = tables->longer(low, high, depth + 1);
            for (; low < over; ++low)
                if (allowed->at(low)) ended.push_back(low);
        }
        if (allowed->any(low, high)) return true;
        return std::any_of(ended.rbegin(), ended.rend(), [&](size_t row) {
            const StatePtr next = behind(tokenizer, state, tables->order.data()[row]);
            return goes_on(tokenizer, *next, text.substr(tables->lengths.data()[row]));
        });
    }
};
