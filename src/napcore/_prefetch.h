/* Asking for memory before it is needed. Python-free. */
#ifndef NAPCORE_PREFETCH_H
#define NAPCORE_PREFETCH_H

#include <stddef.h>

#if defined(__GNUC__) || defined(__clang__)
#define nc_prefetch(place) __builtin_prefetch((const void *)(place), 1)
#else
#define nc_prefetch(place) ((void)(place))
#endif

enum { NC_CACHE_LINE = 64 };

static inline void nc_prefetch_lines(const void *place, size_t size)
{
    size_t at;

    for (at = 0; at < size; at += NC_CACHE_LINE) nc_prefetch((const char *)place + at);
}

#endif
