# Part of _dispatch.pyx: messages as CQ strings and as arrays of segments.

cdef str OPENING = "[CQ:"


cdef inline Py_ssize_t end_of_name(str text, Py_ssize_t at) noexcept:
    cdef int kind = PyUnicode_KIND(text)
    cdef void *characters = PyUnicode_DATA(text)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    while at < size and nc_is_name(PyUnicode_READ(kind, characters, at)):
        at += 1
    return at


cdef inline bint has_character(str text, Py_ssize_t at, Py_UCS4 character) noexcept:
    return at < PyUnicode_GET_LENGTH(text) and PyUnicode_READ_CHAR(text, at) == character


cdef str unescape(str text):
    if "&" not in text:
        return text
    return text.replace("&#91;", "[").replace("&#93;", "]").replace("&#44;", ",").replace("&amp;", "&")


cdef str escape(str text, bint comma):
    cdef int kind = PyUnicode_KIND(text)
    cdef void *characters = PyUnicode_DATA(text)
    cdef Py_ssize_t at
    cdef Py_UCS4 character
    for at in range(PyUnicode_GET_LENGTH(text)):
        character = PyUnicode_READ(kind, characters, at)
        if character == c"&" or character == c"[" or character == c"]" or (comma and character == c","):
            break
    else:
        return text
    text = text.replace("&", "&amp;").replace("[", "&#91;").replace("]", "&#93;")
    return text.replace(",", "&#44;") if comma else text


cdef dict code_at(str text, Py_ssize_t at, Py_ssize_t *end, bint whole):
    """The segment whose code opens at a place, and the place behind it; or None and the place that is wrong.

    Unless it is wanted as a whole, only a text has its data.
    """
    cdef int kind = PyUnicode_KIND(text)
    cdef void *characters = PyUnicode_DATA(text)
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t start = at + PyUnicode_GET_LENGTH(OPENING)
    cdef Py_UCS4 character
    cdef dict data = {}
    cdef str name, key
    at = end[0] = end_of_name(text, start)
    if at == start:
        return None
    name = PyUnicode_Substring(text, start, at)
    whole = whole or name == "text"
    while has_character(text, at, c","):
        start = at + 1
        at = end[0] = end_of_name(text, start)
        if at == start:
            break
        if not has_character(text, at, c"="):
            return None
        key = PyUnicode_Substring(text, start, at) if whole else None
        start = at = at + 1
        while at < size:
            character = PyUnicode_READ(kind, characters, at)
            if character == c"," or character == c"]":
                break
            at += 1
        if whole:
            data[key] = unescape(PyUnicode_Substring(text, start, at))
    end[0] = at
    if not has_character(text, at, c"]"):
        return None
    end[0] = at + 1
    return {"type": name, "data": data}


cdef inline dict text_segment(str text):
    return {"type": "text", "data": {"text": unescape(text)}}


cdef list read_segments(str text, bint whole):
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    cdef Py_ssize_t done = 0, end
    cdef Py_ssize_t at = PyUnicode_Find(text, OPENING, 0, size, 1)
    cdef list segments = []
    cdef dict segment
    while at >= 0:
        segment = code_at(text, at, &end, whole)
        if segment is not None:
            if at > done:
                segments.append(text_segment(PyUnicode_Substring(text, done, at)))
            segments.append(segment)
            done = end
        at = PyUnicode_Find(text, OPENING, end, size, 1)
    if done < size:
        segments.append(text_segment(PyUnicode_Substring(text, done, size)))
    return segments


def parse_message(text):
    """The segments of a CQ string; values are strings, as the format has no other type.

    Text between codes becomes segments of type ``text``, none of them empty. What is no code by
    the grammar, an unclosed ``[CQ:`` say, is text and stays as it is. A type is taken as it comes.
    Of equal keys the last value counts.

    Raises:
        TypeError: ``text`` is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected str, not {type(text).__name__}")
    return read_segments(str(text), True)


cdef str check_name(object name):
    if not isinstance(name, str):
        raise TypeError(f"a key is a str, not {type(name).__name__}")
    cdef str checked = str(name)
    if not checked or end_of_name(checked, 0) < PyUnicode_GET_LENGTH(checked):
        raise ValueError(f"a CQ code has no place for the name {name!r}")
    return checked


cdef str text_of(object value):
    if isinstance(value, str):
        return str(value)
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits and lone surrogates as well
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def format_message(segments):
    """The CQ string of segments; ``parse_message`` gives them back as far as the format carries them.

    Of a ``text`` segment its text is written, nothing else. In other segments strings are written
    as they are, empty ones included (NapCat leaves those out); what is no string as its compact
    JSON: ``true``, ``12``, ``{"a":[1]}`` (NapCat writes an array as ``[object Object]``). None is
    left out, and ``data`` may be None or missing.

    Not carried: that a value was no string, members that are None, and the border between two
    texts.

    Raises:
        TypeError: a segment is no dict with a str ``type``, its ``data`` no dict, or a value
            nothing that JSON can hold.
        ValueError: a type or key has characters that the format has no place for.
    """
    if isinstance(segments, (str, dict)):
        raise TypeError(f"expected segments, not {type(segments).__name__}")
    cdef list parts = []
    for segment in segments:
        name = segment.get("type") if isinstance(segment, dict) else None
        if not isinstance(name, str):
            raise TypeError(f"a segment is a dict with a str 'type', not {type(segment).__name__}")
        data = segment.get("data")
        if data is None:
            data = {}
        elif not isinstance(data, dict):
            raise TypeError(f"the data of a segment is a dict, not {type(data).__name__}")
        if name == "text":
            text = data.get("text")
            if text is not None:
                parts.append(escape(text_of(text), False))
            continue
        parts.append(OPENING)
        parts.append(check_name(name))
        for key, value in (<dict> data).items():
            if value is not None:
                parts.append(",")
                parts.append(check_name(key))
                parts.append("=")
                parts.append(escape(text_of(value), True))
        parts.append("]")
    return "".join(parts)


def plain_text(message):
    """The text of a message in either form: that of its ``text`` segments, joined.

    Of a CQ string that is what lies between the codes, escapes undone. Never raises: what is no
    message, no segment or no text has none.
    """
    if isinstance(message, str):
        if OPENING not in message:
            return unescape(str(message))
        message = read_segments(str(message), False)
    elif not isinstance(message, list):
        return ""
    cdef list texts = []
    for segment in <list> message:
        if isinstance(segment, dict) and segment.get("type") == "text":
            data = segment.get("data")
            text = data.get("text") if isinstance(data, dict) else None
            if isinstance(text, str):
                texts.append(text)
    return texts[0] if len(texts) == 1 else "".join(texts)


# ---- events ----

cdef enum:
    KEPT_ROOM = 65536

cdef nc_conversion conversion
memset(&conversion, 0, sizeof(conversion))


cdef void let_go(nc_buffer *text) noexcept:
    """Room is kept for the next conversion, but not what one huge message took."""
    if text.room > KEPT_ROOM:
        free(text.data)
        memset(text, 0, sizeof(nc_buffer))


cdef Event convert(Event event, nc_message_format message_format):
    """The event with its message in that format; the event itself where there is nothing to convert."""
    if event.event_class != CLASSES[MESSAGE]:
        return event
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(event.raw)
    cdef size_t size = PyBytes_GET_SIZE(event.raw)
    cdef nc_conversion_result result = nc_convert(&conversion, data, size, message_format)
    cdef object raw = None
    try:
        if result == NC_NO_MEMORY:
            raise MemoryError
        if result == NC_ODD:
            raw = convert_bytes(event.raw, MESSAGE_FORMATS[message_format])
        elif result == NC_CONVERTED:
            raw = PyBytes_FromStringAndSize(NULL, nc_converted_size(&conversion, size))
            nc_write_converted(&conversion, data, size, <uint8_t *> PyBytes_AS_STRING(raw))
    finally:
        let_go(&conversion.message)
        let_go(&conversion.plain)
    return event if raw is None else with_bytes(event, raw)


cdef int index_of_format(object message_format) except -1:
    if message_format not in MESSAGE_FORMATS:
        raise ValueError(f"message_format must be one of {', '.join(MESSAGE_FORMATS)}, not {message_format!r}")
    return MESSAGE_FORMATS.index(message_format)


def convert_event(event, message_format):
    """The event with its message in that format, every other byte as received.

    The event itself comes back when there is nothing to convert: no ``message`` or ``message_sent``
    event (in ``notice.bot_offline``, ``message`` is no message), already of that format by what
    ``message`` is, or not convertible: ``message`` is neither string nor array, or the array has
    something in it that a CQ string cannot carry (see ``format_message``).

    Rewritten are the values of ``message``, of ``message_format`` where there is one (NapCat writes
    it, go-cqhttp does not), and, to "string", of ``raw_message`` where there is one: NapCat and
    go-cqhttp report the same CQ string in both. To "array" it stays, for it is the CQ string in
    either format. A key that is there several times has the converted value everywhere, so that it
    does not matter which one a reader takes.

    Numbers and what is inside of nested arrays and objects are taken over as they are written, white
    space apart; so are escapes in strings, lone surrogates as well, but for those of printable ASCII.

    Raises:
        TypeError: no event.
        ValueError: no such format.
    """
    if not isinstance(event, Event):
        raise TypeError(f"expected an event, not {type(event).__name__}")
    return convert(<Event> event, <nc_message_format> index_of_format(message_format))
