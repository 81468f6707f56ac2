// Contexts of covers, scored and pending ones. Definition: engine/contexts.py. Included by kernels.cpp.

// One tokenizer and the tokens that end a text: the canonical law.
struct Canon {
    std::shared_ptr<Automaton> automaton;
    nb::object tokenizer;
    In<int64_t> stop_tokens;

    Canon(nb::object tokenizer, In<int64_t> stop_tokens, std::shared_ptr<Automaton> automaton)
        : automaton(std::move(automaton)), tokenizer(std::move(tokenizer)), stop_tokens(std::move(stop_tokens)) {}
    const ByteTables &tables() const { return *automaton->tables; }
};
using CanonPtr = std::shared_ptr<const Canon>;

// Tokens from where the covers begin: the one before, and the last.
struct Path;
using PathPtr = std::shared_ptr<const Path>;

struct Path {
    const PathPtr before; // null where the covers begin
    const int32_t token;
    const size_t length;
    mutable StatePtr known;

    Path(PathPtr before, int32_t token)
        : before(std::move(before)), token(token), length(this->before ? this->before->length + 1 : 0) {}

    State &state(const Canon &canon) const {
        if (!known) known = canon.automaton->behind(canon.tokenizer, before->state(canon), token);
        return *known;
    }

    nb::tuple tokens() const {
        std::vector<int32_t> found(length);
        const Path *path = this;
        for (size_t i = length; i > 0; path = path->before.get()) found[--i] = path->token;
        return tuple_of(found);
    }
};

PathPtr behind(const PathPtr &before, int32_t token) { return std::make_shared<const Path>(before, token); }

struct Pending {
    PathPtr path;
    size_t start;
    double log_weight;

    bool operator==(const Pending &other) const {
        return start == other.start && log_weight == other.log_weight && path->length == other.path->length && [&] {
            const Path *a = path.get(), *b = other.path.get();
            for (; a != b && a->before; a = a->before.get(), b = b->before.get())
                if (a->token != b->token) return false;
            return true;
        }();
    }
};

std::vector<uint8_t> &scratch_for_masks() {
    thread_local std::vector<uint8_t> scratch;
    return scratch;
}

using Weights = std::shared_ptr<const double>;

Weights owned(Blocks::Owned block) {
    return Weights(block.release(), [](const double *held) { blocks().give(const_cast<double *>(held)); });
}

// What the model says behind a path, as far as it is canonical.
struct Scored {
    PathPtr path;
    In<double> row;
    std::shared_ptr<const Successors> allowed;
    bool is_summed = false;
    double first_byte_sums[256];
    double stop_share = -1; // until it is asked for

    Scored(const Canon &canon, PathPtr given, In<double> row) : path(std::move(given)), row(std::move(row)) {
        require(this->row.size() >= canon.tables().row_of.size(), "the vocabulary has tokens outside of the row");
        allowed = canon.automaton->successors(canon.tokenizer, path->state(canon));
    }

    double stop(const Canon &canon, const nb::tuple &settled) {
        if (stop_share >= 0) return stop_share;
        stop_share = 0;
        if (may_end(canon, settled))
            for (size_t i = 0; i < canon.stop_tokens.size(); ++i) stop_share += std::exp(at(canon.stop_tokens.data()[i]));
        return stop_share;
    }

    double at(int64_t token) const {
        require(token >= 0 && static_cast<size_t>(token) < row.size(), "the row has no such token");
        return row.data()[token];
    }

    // Weights of rows [low, high).
    Weights weigh(const ByteTables &tables, size_t low, size_t high) const {
        Blocks::Owned found = blocks().take(high - low);
        double total = 0;
        require(::weigh(row.data(), row.size(), tables.order.data() + low, allowed->within(low, high, scratch_for_masks()), high - low,
                        found.get(), &total),
                "order names a place outside of the row");
        require(!std::isnan(total), "a weight is NaN");
        return owned(std::move(found));
    }

    void sum_first_bytes(const ByteTables &tables) {
        if (is_summed) return;
        std::fill(first_byte_sums, first_byte_sums + 256, 0.0);
        double total = 0;
        require(weigh_groups(row.data(), row.size(), tables.order.data(),
                             allowed->within(0, tables.rows(), scratch_for_masks()), tables.first_byte_starts.data(), 256,
                             first_byte_sums, &total),
                "order names a place outside of the row");
        require(!std::isnan(total), "a weight is NaN");
        is_summed = true;
    }

  private:
    bool may_end(const Canon &canon, const nb::tuple &settled) const {
        if (path->before) return canon.automaton->may_end(canon.tokenizer, path->before->state(canon), path->token);
        return nb::cast<bool>(canon.tokenizer.attr("may_end")(settled));
    }
};

// A scored context, whose last token is one of rows [low, high). Its weights are null as long as that is not begun.
struct Context {
    std::shared_ptr<Scored> scored;
    size_t start, low, high;
    double log_weight, log_mass;
    Weights owner;
    const double *weights = nullptr;

    const PathPtr &path() const { return scored->path; }
};
