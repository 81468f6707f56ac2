// A team of threads that carries out phases of small chunks.
//
// The caller works too, and waits only for chunks that others have begun. So a thread that the system has put aside
// costs nothing but its help: on a machine whose cores are taken, the caller does the phase alone.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

class Team {
  public:
    explicit Team(int size) {
        for (int number = 1; number < size; ++number) threads.emplace_back([this, number] { help(number); });
    }

    ~Team() {
        ended.store(true);
        wake();
        for (auto &thread : threads) thread.join();
    }

    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

    int size() const { return static_cast<int>(threads.size()) + 1; }

    // Calls work(chunk, thread) for each chunk in [0, chunks), in any order; returns when all are done.
    template <typename Work> void run(int chunks, const Work &work) {
        if (threads.empty() || chunks < 2) {
            for (int chunk = 0; chunk < chunks; ++chunk) work(chunk, 0);
            return;
        }
        call = [](const void *context, int chunk, int thread) {
            (*static_cast<const Work *>(context))(chunk, thread);
        };
        context = &work;
        done.store(0, std::memory_order_relaxed);
        ++phase;
        ticket.store(phase << 40 | static_cast<uint64_t>(chunks) << 20);
        if (sleepers.load()) wake();
        take_part(0);
        for (int turn = 0; done.load(std::memory_order_acquire) < chunks; ++turn) pause(turn);
    }

  private:
    static constexpr uint64_t COUNT = (1 << 20) - 1;
    static constexpr int SPINS = 4096;
    static constexpr auto AWAKE = std::chrono::microseconds(200);

    static void relax() {
#if defined(__x86_64__) || defined(_M_X64)
        _mm_pause();
#endif
    }

    // Whoever is waited for may need this very core.
    static void pause(int turn) { turn < SPINS ? relax() : std::this_thread::yield(); }

    // Works on the current phase until all of its chunks are taken. Returns whether there were any.
    //
    // Who takes a chunk reads `call` and `context` of its own phase: that cannot end before the chunk is done.
    bool take_part(int thread) {
        bool found = false;
        uint64_t now = ticket.load();
        while ((now & COUNT) < (now >> 20 & COUNT)) {
            if (!ticket.compare_exchange_weak(now, now + 1)) continue;
            call(context, static_cast<int>(now & COUNT), thread);
            done.fetch_add(1, std::memory_order_release);
            found = true;
            now = ticket.load();
        }
        return found;
    }

    void help(int thread) {
        auto busy = std::chrono::steady_clock::now();
        for (int turn = 0; !ended.load(std::memory_order_relaxed); ++turn) {
            if (take_part(thread)) turn = 0;
            relax();
            if (turn % 64) continue;
            auto now = std::chrono::steady_clock::now();
            if (!turn) busy = now;
            if (now - busy > AWAKE) sleep(), turn = -1;
        }
    }

    void sleep() {
        std::unique_lock<std::mutex> lock(mutex);
        sleepers.fetch_add(1);
        uint64_t now = ticket.load();
        if ((now & COUNT) >= (now >> 20 & COUNT))
            woken.wait(lock, [&] { return ended.load() || ticket.load() >> 40 != now >> 40; });
        sleepers.fetch_sub(1);
    }

    void wake() {
        { std::lock_guard<std::mutex> lock(mutex); }
        woken.notify_all();
    }

    // The phase's number, how many chunks it has, how many of them are taken.
    std::atomic<uint64_t> ticket{0};
    std::atomic<int> done{0}, sleepers{0};
    std::atomic<bool> ended{false};
    void (*call)(const void *, int, int) = nullptr;
    const void *context = nullptr;
    uint64_t phase = 0;
    std::mutex mutex;
    std::condition_variable woken;
    std::vector<std::thread> threads;
};
