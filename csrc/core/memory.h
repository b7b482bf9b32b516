// Scratch memory. A call needs a few buffers of a few bytes a box; allocated anew each time, their page faults would
// cost more than the work (up to 2 us per 4 KiB page). Each thread keeps a small store and takes from it as from a
// stack; what does not fit comes from the system, in huge pages where it is large.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastdet {

// 64-byte aligned; throws std::bad_alloc. Given back by the same thread, best in the reverse order.
void* take_memory(size_t bytes);
void give_memory(void* p, size_t bytes);

// A buffer with undefined content.
template <class T>
class Buffer {
  public:
    explicit Buffer(int64_t n)
        : bytes_(sizeof(T) * size_t(n > 0 ? n : 1)), data_(static_cast<T*>(take_memory(bytes_))) {}
    ~Buffer() { give_memory(data_, bytes_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* get() const { return data_; }
    T& operator[](int64_t i) const { return data_[i]; }

  private:
    size_t bytes_;
    T* data_;
};

}  // namespace fastdet
