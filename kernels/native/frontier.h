// The covers of the bytes read so far, and reading on. Definition: engine/frontier.py. Included by kernels.cpp.

constexpr double MORE_THAN_HALF = 0.5 + 1e-9, SCORED_SHARE = 0.9, LEFT_BEHIND = 0.1; // as in the definitions
constexpr double MOST_BESIDE_PENDING = 0.999; // of what is pending, less than it cannot be certain, whatever rounding does
constexpr int STOP = 256;

double log_of_sum(double a, double b) {
    const double most = std::max(a, b);
    return most == NOTHING ? most : most + std::log1p(std::exp(std::min(a, b) - most));
}

class Frontier {
  public:
    Frontier(CanonPtr canon, const nb::tuple &settled, nb::bytes text)
        : canon(std::move(canon)), text(text.c_str(), text.size()), settled(settled) {
        const auto path = std::make_shared<const Path>(nullptr, -1);
        path->known = this->canon->automaton->at(this->canon->tokenizer, settled);
        origin = path;
    }

    nb::bytes read_so_far() const { return nb::bytes(text.data(), text.size()); }

    // The context behind `tokens`, whose last token starts at `start`; what ends inside the text is not kept.
    Frontier with_context(const std::vector<int32_t> &tokens, size_t start, double log_weight, In<double> row) const {
        Frontier found = closed();
        std::vector<Pending> ended;
        found.open({path_of(tokens), start, log_weight}, std::move(row), ended);
        return found;
    }

    Frontier with_pending(const std::vector<std::tuple<std::vector<int32_t>, size_t, double>> &covers) const {
        Frontier found = closed();
        for (const auto &[tokens, start, log_weight] : covers) found.pending.push_back({path_of(tokens), start, log_weight});
        found.pending_log = log_sum(found.pending);
        return found;
    }

    Frontier with_scored(const std::vector<Pending> &chosen, const std::vector<In<double>> &rows) const {
        require(chosen.size() == rows.size(), "covers and rows differ in number");
        Frontier found = closed();
        drop(found.pending, [&](const Pending &p) { return std::find(chosen.begin(), chosen.end(), p) != chosen.end(); });
        std::vector<Pending> ended;
        for (size_t i = 0; i < chosen.size(); ++i) found.open(chosen[i], rows[i], ended);
        found.pending.insert(found.pending.end(), ended.begin(), ended.end());
        found.pending_log = log_sum(found.pending);
        return found;
    }

    // With those scored that are worth it.
    Frontier with_rows(const std::vector<In<double>> &rows) const {
        return with_scored(worth_scoring(), rows);
    }

    Frontier push(int byte) const {
        require(byte >= 0 && byte < 256, "this is no byte");
        Frontier found = closed();
        found.take(static_cast<uint8_t>(byte));
        return found;
    }

    // The covers without those that cannot go on; None if all can.
    nb::object pruned() const {
        if (is_open) return nb::none();
        Frontier found = closed();
        return found.prune() ? nb::cast(std::move(found)) : nb::none();
    }

    // The tokens of those that are worth scoring.
    nb::list paths() const {
        nb::list found;
        for (const Pending &p : worth_scoring()) found.append(p.path->tokens());
        return found;
    }

    std::vector<Pending> worth_scoring() const {
        if (pending.size() < 2) return pending;
        const double total = log_total();
        std::vector<std::pair<double, const Pending *>> found;
        for (const Pending &p : pending)
            found.emplace_back(std::exp(p.log_weight - total) * (p.start == text.size() ? 1 : LEFT_BEHIND), &p);
        std::stable_sort(found.begin(), found.end(), [](const auto &a, const auto &b) { return a.first > b.first; });
        double all = 0, held = 0;
        for (const auto &[weight, p] : found) all += weight;
        std::vector<Pending> chosen;
        for (const auto &[weight, p] : found) {
            chosen.push_back(*p);
            if ((held += weight) >= SCORED_SHARE * all) break;
        }
        return chosen;
    }

    // Bytes that certainly come next, whether STOP does behind them, the natural log of the probability of all, and the
    // covers behind them.
    nb::object read() const {
        double log = 0;
        if (is_open) return nb::make_tuple(nb::bytes("", 0), false, log, nb::none());
        Frontier now = closed();
        int last = 0;
        while (last != STOP && last != '\n' && last < 0x80) {
            const Unit unit = now.unit();
            const bool is_hopeless = now.is_mostly_pending();
            double known = 0;
            auto [first, second] = is_hopeless ? std::pair{-1, -1} : now.decided(unit);
            if (first < 0 && !is_hopeless) first = now.certain(unit, known);
            if (first < 0) {
                if (now.prune()) continue;
                now.is_open = true;
                break;
            }
            if (first < STOP) known = now.take(static_cast<uint8_t>(first), &unit, second >= 0);
            if (second >= 0) known = now.take(static_cast<uint8_t>(second), &unit);
            if (known > 0) log += std::log(known / unit.total);
            last = second < 0 ? first : second;
        }
        const nb::bytes read(now.text.data() + text.size(), now.text.size() - text.size());
        return nb::make_tuple(read, last == STOP, log, nb::cast(std::move(now)));
    }

    // (257,) by next byte and STOP; what pending covers hold; both of all.
    nb::object shares() const {
        std::unique_ptr<double[]> known(new double[257]());
        const double total = log_total();
        double unknown = 0;
        if (total > NOTHING) {
            add_known({total, 0, 0}, known.get());
            unknown = std::exp(pending_log - total);
        }
        return nb::make_tuple(fresh(std::move(known), {257}), unknown);
    }

    double log_total() const {
        double peak = pending_log, sum = 0;
        for (const Context &context : contexts) peak = std::max(peak, context.log_mass);
        if (peak == NOTHING) return peak;
        sum = std::exp(pending_log - peak);
        for (const Context &context : contexts) sum += std::exp(context.log_mass - peak);
        return peak + std::log(sum);
    }

    std::vector<Context> contexts;
    std::vector<Pending> pending;
    double pending_log = NOTHING;
    bool is_open = false;

  private:
    static constexpr int64_t LARGE = 4096; // tokens of one first byte

    // What masses are counted in, and those of all covers and of the pending ones in it.
    struct Unit {
        double log, total, pending;
    };

    CanonPtr canon;
    PathPtr origin;
    std::string text;
    nb::tuple settled;

    const ByteTables &tables() const { return canon->tables(); }

    // A copy of which it is not known whether it is certain what comes next.
    Frontier closed() const {
        Frontier found(*this);
        found.is_open = false;
        return found;
    }

    PathPtr path_of(const std::vector<int32_t> &tokens) const {
        PathPtr path = origin;
        for (int32_t token : tokens) {
            require(token >= 0 && static_cast<size_t>(token) < tables().row_of.size(), "there is no such token");
            path = behind(path, token);
        }
        return path;
    }

    template <typename Test> static void drop(std::vector<Pending> &covers, const Test &test) {
        covers.erase(std::remove_if(covers.begin(), covers.end(), test), covers.end());
    }

    static double log_sum(const std::vector<Pending> &covers) {
        double most = NOTHING, sum = 0;
        for (const Pending &p : covers) most = std::max(most, p.log_weight);
        if (most == NOTHING || covers.size() == 1) return most;
        for (const Pending &p : covers) sum += std::exp(p.log_weight - most);
        return most + std::log(sum);
    }

    bool is_mostly_pending() const {
        double others = 0;
        for (const Context &context : contexts) {
            if (context.log_mass >= pending_log) return false;
            others += std::exp(context.log_mass - pending_log);
        }
        return pending_log > NOTHING && others < MOST_BESIDE_PENDING;
    }

    bool may_start(uint8_t byte) const {
        const int64_t *starts = tables().first_byte_starts.data() + byte;
        return starts[0] < starts[1];
    }

    // Drops what cannot go on; whether there was any.
    bool prune() {
        const size_t before = pending.size();
        drop(pending, [&](const Pending &p) {
            return p.start < text.size() &&
                   !canon->automaton->goes_on(canon->tokenizer, p.path->state(*canon), text.substr(p.start));
        });
        if (pending.size() == before) return false;
        pending_log = log_sum(pending);
        return true;
    }

    // -- scoring and reading

    void open(const Pending &cover, In<double> row, std::vector<Pending> &ended) {
        require(cover.start <= text.size(), "the cover starts behind what was read");
        Context context{std::make_shared<Scored>(*canon, cover.path, std::move(row)), cover.start, 0, tables().rows(),
                        cover.log_weight, cover.log_weight, nullptr};
        for (size_t end = cover.start + 1; end <= text.size(); ++end) {
            std::vector<Pending> over;
            const bool goes_on = narrow(context, text[end - 1], end, over);
            if (end == text.size() || may_start(text[end])) ended.insert(ended.end(), over.begin(), over.end());
            if (!goes_on) return;
        }
        contexts.push_back(std::move(context));
    }

    // Reads the byte; returns the mass of what goes on or ends with it, unless another one follows at once.
    double take(uint8_t byte, const Unit *unit = nullptr, bool is_followed = false) {
        const size_t end = text.size() + 1;
        std::vector<Context> left;
        std::vector<Pending> over;
        double held = 0;
        for (Context &context : contexts)
            if (narrow(context, byte, end, over, is_followed)) {
                if (unit) held += std::exp(context.log_mass - unit->log);
                left.push_back(std::move(context));
            }
        text.push_back(static_cast<char>(byte));
        contexts = std::move(left);
        if (!may_start(byte)) {
            drop(pending, [&](const Pending &p) { return p.start + 1 >= end; });
            pending_log = log_sum(pending);
        }
        if (!over.empty()) {
            const double log = log_sum(over);
            if (unit) held += std::exp(log - unit->log);
            pending.insert(pending.end(), over.begin(), over.end());
            pending_log = log_of_sum(pending_log, log);
        }
        return held;
    }

    // Reads `byte`, the last one before `end`, in one context; whether it goes on. Tokens that end there are added.
    // If another byte follows at once, a token that begins is not weighed before that.
    bool narrow(Context &c, uint8_t byte, size_t end, std::vector<Pending> &over, bool is_followed = false) {
        const size_t depth = end - 1 - c.start;
        const auto [first, high] = tables().narrow(c.low, c.high, depth, byte);
        if (first == high) return false;
        const size_t low = tables().longer(first, high, depth + 1);
        if (!c.weights) {
            c.owner = c.scored->weigh(tables(), first, is_followed ? low : high);
            c.weights = c.owner.get();
        } else {
            c.weights += first - c.low;
            is_followed = false;
        }
        for (size_t row = first; row < low; ++row)
            if (const double weight = c.weights[row - first]; weight > 0)
                over.push_back({behind(c.path(), tables().order.data()[row]), end, c.log_weight + std::log(weight)});
        c.weights = is_followed ? nullptr : c.weights + (low - first);
        c.low = low, c.high = high;
        if (is_followed) return low < high;
        const double mass = sum_of(c.weights, high - low);
        c.log_mass = c.log_weight + std::log(mass);
        return mass > 0;
    }

    // -- what comes next

    Unit unit() const {
        constexpr double LEAST = -1e300;
        double log = std::max(pending_log, LEAST);
        for (const Context &context : contexts) log = std::max(log, context.log_mass);
        const double pending = std::exp(pending_log - log);
        double total = pending;
        for (const Context &context : contexts) total += std::exp(context.log_mass - log);
        return {log, total, pending};
    }

    // The byte that certainly comes next, as far as begun contexts and the likeliest tokens of one that has not begun
    // tell, or -1; and the one behind it if that is certain, too, and there are many tokens that begin with the first.
    std::pair<int, int> decided(const Unit &unit) const {
        const Context *lead = nullptr;
        double known[256] = {}, unknown = unit.pending, largest = 0, others = unit.pending;
        for (const Context &c : contexts) {
            const double mass = std::exp(c.log_mass - unit.log);
            if (c.weights) {
                add_begun(c, std::exp(c.log_weight - unit.log), known), others += mass;
                continue;
            }
            unknown += mass;
            if (mass > largest) largest = mass, lead = &c;
        }
        const int best = greatest(known, 256);
        const double enough = MORE_THAN_HALF * unit.total;
        if (known[best] > enough || (known[best] > 0 && known[best] >= second_to(best, known, 256) + unknown)) return {best, -1};
        if (!lead) return {-1, -1};
        others += unknown - unit.pending - largest;
        const Likely likely(lead->scored->row, tables(), canon->stop_tokens);
        double sums[256];
        std::copy(known, known + 256, sums);
        for (const Likely::Token &token : likely.tokens) sums[tables().columns.data()[token.row]] += largest * token.weight;
        const int first = greatest(sums, 256);
        const double least = std::min(enough, second_to(first, sums, 256) + unknown - largest + largest * likely.rest) - known[first];
        const Likely::Token *from = likely.from(tables().first_byte_starts.data()[first]),
                            *to = likely.from(tables().first_byte_starts.data()[first + 1]);
        if (!holds(*lead->scored, from, to, least / largest, (sums[first] - known[first]) / largest)) return {-1, -1};
        const bool is_sole = unit.pending == 0; // else what is pending counts beside all tokens of the first byte
        return {first, is_sole ? second_behind(first, *lead->scored, from, to, likely.rest + others / largest) : -1};
    }

    static int greatest(const double *sums, int symbols) {
        return static_cast<int>(std::max_element(sums, sums + symbols) - sums);
    }

    static double second_to(int best, const double *sums, int symbols) {
        double most = 0;
        for (int symbol = 0; symbol < symbols; ++symbol)
            if (symbol != best) most = std::max(most, sums[symbol]);
        return most;
    }

    // Of likely tokens, which start with the byte, the one behind it, if many tokens do and it is certain; else -1.
    // The likely tokens share the mass of 1 with what is unknown.
    int second_behind(int first, const Scored &scored, const Likely::Token *from, const Likely::Token *to, double unknown) const {
        const int64_t *starts = tables().first_byte_starts.data() + first;
        if (starts[1] - starts[0] < LARGE || first == '\n' || first >= 0x80) return -1;
        double sums[256] = {}, total = unknown;
        for (const Likely::Token *token = from; token < to; ++token) {
            total += token->weight;
            if (tables().lengths.data()[token->row] == 1) unknown += token->weight;
            else sums[tables().columns.data()[tables().rows() + token->row]] += token->weight;
        }
        const int best = greatest(sums, 256);
        const auto is_other = [&](const Likely::Token &token) {
            return tables().lengths.data()[token.row] == 1 || tables().columns.data()[tables().rows() + token.row] != best;
        };
        from = std::find_if_not(from, to, is_other), to = std::find_if(from, to, is_other);
        const double least = std::min(MORE_THAN_HALF * total, second_to(best, sums, 256) + unknown);
        return holds(scored, from, to, least, sums[best]) ? best : -1;
    }

    // Whether the canonical ones of these tokens, whose weights sum up to `sum`, have more than `least` together.
    static bool holds(const Scored &scored, const Likely::Token *from, const Likely::Token *to, double least, double sum) {
        std::vector<Likely::Token> tokens(from, to);
        std::sort(tokens.begin(), tokens.end(), [](const auto &a, const auto &b) { return a.weight > b.weight; });
        double held = 0;
        for (const Likely::Token &token : tokens) {
            if (sum <= least) return false;
            if (!scored.allowed->at(token.row)) sum -= token.weight;
            else if ((held += token.weight) > least) return true;
        }
        return false;
    }

    void add_begun(const Context &c, double scale, double *known) const {
        add_sums_of(c.weights, tables().bytes_at(text.size() - c.start, c.low), c.high - c.low, scale, known);
    }

    // Adds (257,) masses by next byte and STOP, in exp(unit.log).
    void add_known(const Unit &unit, double *known) const {
        for (const Context &c : contexts) {
            const double scale = std::exp(c.log_weight - unit.log);
            if (c.weights) {
                add_begun(c, scale, known);
                continue;
            }
            c.scored->sum_first_bytes(tables());
            for (size_t k = 0; k < 256; ++k) known[k] += scale * c.scored->first_byte_sums[k];
            known[STOP] += scale * c.scored->stop(*canon, settled);
        }
    }

    // The symbol of most mass, and that mass, if what is pending cannot change which it is; else -1.
    int certain(const Unit &unit, double &most) const {
        double known[257] = {};
        add_known(unit, known);
        const int best = greatest(known, STOP + 1);
        most = known[best];
        if (most == 0) return unit.pending == 0 ? STOP : -1;
        const bool is_sure = unit.pending == 0 || most > MORE_THAN_HALF * unit.total ||
                             most >= second_to(best, known, STOP + 1) + unit.pending;
        return is_sure ? best : -1;
    }
};

void define_frontier(nb::module_ &module) {
    nb::class_<Automaton>(module, "Automaton").def(nb::init<nb::object>(), nb::arg("tokenizer"));
    nb::class_<Canon>(module, "Canon")
        .def(nb::init<nb::object, In<int64_t>, std::shared_ptr<Automaton>>(), nb::arg("tokenizer"), nb::arg("stop_tokens"),
             nb::arg("automaton"))
        .def("begin", [](CanonPtr canon, nb::tuple settled, nb::bytes text) { return Frontier(canon, settled, text); },
             nb::arg("settled"), nb::arg("text"));
    nb::class_<Pending>(module, "Pending")
        .def_prop_ro("tokens", [](const Pending &p) { return p.path->tokens(); })
        .def_ro("start", &Pending::start)
        .def_ro("log_weight", &Pending::log_weight)
        .def("__eq__", [](const Pending &p, nb::handle other) {
            const Pending *found = nullptr;
            return nb::try_cast(other, found) && found && p == *found;
        });
    nb::class_<Context>(module, "Context")
        .def_prop_ro("tokens", [](const Context &c) { return c.path()->tokens(); })
        .def_ro("start", &Context::start)
        .def_ro("low", &Context::low)
        .def_ro("high", &Context::high)
        .def_ro("log_weight", &Context::log_weight)
        .def_ro("log_mass", &Context::log_mass)
        .def_prop_ro("weights", [](const Context &c) -> nb::object {
            if (!c.weights) return nb::none();
            nb::capsule owner(new Weights(c.owner), [](void *held) noexcept { delete static_cast<Weights *>(held); });
            return nb::cast(nb::ndarray<nb::numpy, const double>(c.weights, {c.high - c.low}, owner));
        });
    nb::class_<Frontier>(module, "Frontier")
        .def_prop_ro("text", &Frontier::read_so_far)
        .def_prop_ro("contexts", [](const Frontier &f) { return f.contexts; })
        .def_prop_ro("pending", [](const Frontier &f) { return f.pending; })
        .def_ro("pending_log", &Frontier::pending_log)
        .def_ro("is_open", &Frontier::is_open)
        .def_prop_ro("log_total", &Frontier::log_total)
        .def("with_context", &Frontier::with_context, nb::arg("tokens"), nb::arg("start"), nb::arg("log_weight"), nb::arg("row"))
        .def("with_pending", &Frontier::with_pending, nb::arg("covers"))
        .def("with_scored", &Frontier::with_scored, nb::arg("chosen"), nb::arg("rows"))
        .def("with_rows", &Frontier::with_rows, nb::arg("rows"))
        .def("push", &Frontier::push, nb::arg("byte"))
        .def("read", &Frontier::read)
        .def("pruned", &Frontier::pruned)
        .def("worth_scoring", &Frontier::worth_scoring)
        .def("paths", &Frontier::paths)
        .def("shares", &Frontier::shares);
}
