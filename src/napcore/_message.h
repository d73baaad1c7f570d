/* Messages as CQ strings and as arrays of segments. Python-free.
 *
 * What is done here is specified by the plain twin (_message_py.py).
 */
#ifndef NAPCORE_MESSAGE_H
#define NAPCORE_MESSAGE_H

#include "_string.h"

/* Whether a type or key may have the character. */
static inline int nc_is_name(uint32_t character)
{
    const uint32_t letter = character | 0x20;

    return (letter >= 'a' && letter <= 'z') || (character >= '0' && character <= '9') || character == '_' ||
           character == '-' || character == '.';
}

#endif
