# Part of _dispatch.pyx: from received bytes to an event, a response or a request.

# Texts that come again with every event (post types, kinds, sub types) are kept and shared.
cdef enum:
    TEXT_SLOTS = 256
    TEXT_SIZE = 32

cdef struct Text:
    nc_short token  # zeros behind it
    uint8_t size
    uint8_t family  # 0: the text itself; else the kind that it makes with that post type
    uint8_t post_type  # what the text is as one
    PyObject *value  # owned; NULL: the slot is free

cdef Text[TEXT_SLOTS] texts
memset(texts, 0, sizeof(texts))

cdef enum:
    MESSAGE, MESSAGE_SENT, NOTICE, REQUEST, META_EVENT, OTHER_POST_TYPE

cdef tuple POST_TYPES = ("message", "message_sent", "notice", "request", "meta_event")
cdef int[6] CLASSES = [0, 0, 1, 2, 3, 3]  # EventClass by post type
cdef int[5] SECOND_KEYS = [0, 0, 1, 2, 3]  # which of the *_type slots


cdef str decode_text(const uint8_t *token, size_t size):
    """The text of a proved string, quotes left out."""
    if memchr(token, c"\\", size) == NULL:
        return PyUnicode_DecodeUTF8(<const char *> token, size, NULL)
    cdef bytes space = PyBytes_FromStringAndSize(NULL, size)
    cdef char *start = PyBytes_AS_STRING(space)
    size = nc_decode(token, token + size, <uint8_t *> start, size)
    return PyUnicode_DecodeUTF8(start, size, b"surrogatepass")


cdef Text *keep_text(Text *slot, const nc_short *token, size_t size, unsigned family, str value) except NULL:
    """Let the slot have this text."""
    Py_INCREF(value)
    Py_XDECREF(slot.value)
    slot.token = token[0]
    slot.size = size
    slot.family = family
    slot.post_type = POST_TYPES.index(value) if value in POST_TYPES else OTHER_POST_TYPE
    slot.value = <PyObject *> value
    return slot


cdef inline Text *shared_text(
    const uint8_t *data, Py_ssize_t limit, nc_span span, unsigned family, str post_type
) except? NULL:
    """The slot with the text of a proved string, or with the kind that it makes; NULL if it is too long to be kept."""
    cdef size_t size = span.end - span.start - 2
    cdef nc_short token
    cdef Text *slot
    if size > TEXT_SIZE:
        return NULL
    nc_short_read(&token, data + span.start + 1, size, limit - span.start - 1)
    slot = &texts[nc_short_hash(&token, size, family)]
    if slot.value != NULL and slot.size == size and slot.family == family and nc_short_same(&slot.token, &token):
        return slot
    cdef str value = decode_text(data + span.start + 1, size)
    return keep_text(slot, &token, size, family, value if post_type is None else f"{post_type}.{value}")


cdef inline bint is_string(const uint8_t *data, nc_span span) noexcept:
    return span.start != 0 and data[span.start] == c'"'


cdef inline str read_string(const uint8_t *data, Py_ssize_t limit, nc_span span):
    cdef Text *text
    if not is_string(data, span):
        return None
    text = shared_text(data, limit, span, 0, None)
    if text != NULL:
        return <str> text.value
    return decode_text(data + span.start + 1, span.end - span.start - 2)


cdef inline int64_t read_identifier(const uint8_t *data, nc_span span) noexcept nogil:
    cdef int64_t value = 0
    cdef size_t quote
    if span.start:
        quote = data[span.start] == c'"'
        nc_parse_integer(data + span.start + quote, data + span.end - quote, &value)
    return value


cdef inline object id_or_none(int64_t number):
    return number if number else None


cdef inline tuple span_or_none(size_t start, nc_span span):
    return (start, span.end) if span.start else None


cdef inline bytes slice_or_none(bytes raw, nc_span span):
    if span.start == 0:
        return None
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(raw) + span.start, span.end - span.start)


cdef bytes as_bytes(object data):
    if PyBytes_CheckExact(data):
        return <bytes> data
    if isinstance(data, str):
        # A lone surrogate goes through, to fail as invalid UTF-8 at its place in the bytes.
        return str.encode(data, "utf-8", "surrogatepass")
    if isinstance(data, (bytes, bytearray, memoryview)):
        return memoryview(data).tobytes()
    raise TypeError(f"expected bytes, bytearray, memoryview or str, not {type(data).__name__}")


cdef inline const uint8_t *scan(bytes raw, nc_head *head) except NULL:
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(raw)
    if not nc_prove_document(data, PyBytes_GET_SIZE(raw), head, version):
        raise BadEvent(REASONS[head.reason], head.at)
    return data


cdef str other_kind(str post_type, const uint8_t *data, Py_ssize_t size):
    """The kind of an event whose post type is none of the known ones."""
    cdef bytes name = f"{post_type}_type".encode("utf-8", "surrogatepass")
    cdef nc_key key
    key.text = <const uint8_t *> PyBytes_AS_STRING(name)
    key.size = PyBytes_GET_SIZE(name)
    cdef nc_span second = nc_find_member(data, size, &key)
    if not is_string(data, second):
        return post_type
    return f"{post_type}.{decode_text(data + second.start + 1, second.end - second.start - 2)}"


cdef Event make_event(bytes raw, const uint8_t *data, nc_head *head):
    cdef Event event = Event.__new__(Event)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    cdef int family = OTHER_POST_TYPE
    cdef Text *text
    cdef nc_span second
    event.raw = raw
    if is_string(data, head.member[NC_POST_TYPE]):
        text = shared_text(data, size, head.member[NC_POST_TYPE], 0, None)
        if text == NULL:
            event.post_type = read_string(data, size, head.member[NC_POST_TYPE])
        else:
            event.post_type = <str> text.value
            family = text.post_type
        if family == OTHER_POST_TYPE:
            event.kind = other_kind(event.post_type, data, size)
        else:
            second = head.member[NC_MESSAGE_TYPE + SECOND_KEYS[family]]
            if not is_string(data, second):
                event.kind = event.post_type
            else:
                text = shared_text(data, size, second, family + 1, event.post_type)
                if text == NULL:
                    event.kind = f"{event.post_type}.{read_string(data, size, second)}"
                else:
                    event.kind = <str> text.value
    event.event_class = CLASSES[family]
    event.sub_type = read_string(data, size, head.member[NC_SUB_TYPE])
    event.account = read_identifier(data, head.member[NC_SELF_ID])
    event.group = read_identifier(data, head.member[NC_GROUP_ID])
    event.user = read_identifier(data, head.member[NC_USER_ID])
    event.message = read_identifier(data, head.member[NC_MESSAGE_ID])
    event.when = read_identifier(data, head.member[NC_TIME])
    return event


cdef Event with_bytes(Event event, bytes raw):
    """The same head over other bytes, in which it stands as well."""
    cdef Event made = Event.__new__(Event)
    made.raw = raw
    made.post_type = event.post_type
    made.kind = event.kind
    made.sub_type = event.sub_type
    made.account = event.account
    made.group = event.group
    made.user = event.user
    made.message = event.message
    made.when = event.when
    made.event_class = event.event_class
    return made


cdef Response make_response(bytes raw, const uint8_t *data, nc_head *head):
    cdef Response response = Response.__new__(Response)
    cdef nc_span retcode = head.member[NC_RETCODE]
    response.raw = raw
    response.status = read_string(data, PyBytes_GET_SIZE(raw), head.member[NC_STATUS])
    response.stream = read_string(data, PyBytes_GET_SIZE(raw), head.member[NC_STREAM])
    response.has_retcode = retcode.start and nc_parse_integer(
        data + retcode.start, data + retcode.end, &response.code
    )
    response.echo_at = head.member[NC_ECHO]
    response.echo_key = head.echo_key
    return response


def peek(data, /):
    """Prove that ``data`` is one JSON object and an event, and read its head.

    Raises:
        BadEvent: it is not; an API response is ``not an event`` here.
        TypeError: ``data`` is of no such type.
    """
    cdef bytes raw = as_bytes(data)
    cdef nc_head head
    cdef const uint8_t *start = scan(raw, &head)
    if head.member[NC_POST_TYPE].start == 0:
        raise BadEvent("not an event", 0)
    return make_event(raw, start, &head)


def peek_frame(data, /):
    """Prove that ``data`` is one JSON object; with a ``post_type`` it is an event, else a response.

    Raises:
        BadEvent: it is no JSON object.
        TypeError: ``data`` is of no such type.
    """
    cdef bytes raw = as_bytes(data)
    cdef nc_head head
    cdef const uint8_t *start = scan(raw, &head)
    if head.member[NC_POST_TYPE].start:
        return make_event(raw, start, &head)
    return make_response(raw, start, &head)


def peek_batch(known, telling, doubts, other, list messages not None, /):
    """``peek_frame`` for messages that came together: the events among them that are to be routed.

    Most are, just as they are: those of an account in ``known``, of a kind that is not in
    ``telling``, as long as all ``doubts`` are empty. ``other`` is called with each of the others in
    turn, a BadEvent where a message is none, and says whether it is to be routed too; what it changes
    holds for what follows.
    """
    cdef tuple in_doubt = tuple(doubts)
    cdef list events = []
    cdef int64_t last = 0  # an account whose events are routed, as was found
    for message in messages:
        try:
            item = peek_frame(message)
        except BadEvent as error:
            item = error
        if type(item) is Event and (<Event> item).account and (<Event> item).kind not in telling:
            if (<Event> item).account == last or ((<Event> item).account in known and are_empty(in_doubt)):
                last = (<Event> item).account
                events.append(item)
                continue
        last = 0
        if other(item):
            events.append(item)
    return events


cdef bint are_empty(tuple containers) except -1:
    for container in containers:
        if len(container):
            return False
    return True


def peek_request(data, /):
    """Prove that ``data`` is one JSON object with an ``action``, and read what forwarding needs.

    Raises:
        BadEvent: it is not; without an ``action`` that is a string it is ``not a request``.
        TypeError: ``data`` is of no such type.
    """
    cdef bytes raw = as_bytes(data)
    cdef nc_head head
    cdef const uint8_t *start = scan(raw, &head)
    cdef str action = read_string(start, PyBytes_GET_SIZE(raw), head.member[NC_ACTION])
    cdef Request request
    if action is None:
        raise BadEvent("not a request", 0)
    request = Request.__new__(Request)
    request.raw = raw
    request.action = action
    request.echo_at = head.member[NC_ECHO]
    request.params_at = head.member[NC_PARAMS]
    if request.params_at.start and start[request.params_at.start] == c"{":
        nc_read_object(start, request.params_at.start, request.params_at.end, &head)
        request.group = read_identifier(start, head.member[NC_GROUP_ID])
        request.user = read_identifier(start, head.member[NC_USER_ID])
        request.account = read_identifier(start, head.member[NC_SELF_ID])
        request.message_type = read_string(start, PyBytes_GET_SIZE(raw), head.member[NC_MESSAGE_TYPE])
    return request


# What an Event holds comes from JSON and cannot refer back to it, so the garbage collector need not know it.
@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Event:
    """One OneBot event: its bytes and its head, the fields that routing needs; immutable.

    ``raw`` are the received bytes, exactly. ``post_type``, ``kind`` (``message.group``) and
    ``sub_type`` are strings, ``self_id``, ``group_id``, ``user_id``, ``message_id`` and ``time``
    integers within int64; each is None when it is missing or not of its type, an id also when it
    is 0. ``event_class`` is the ``EventClass`` as int. Events are equal when their bytes are.
    """

    @property
    def self_id(self):
        """The account that reports."""
        return id_or_none(self.account)

    @property
    def group_id(self):
        """The group, also of a temporary session."""
        return id_or_none(self.group)

    @property
    def user_id(self):
        """The sender, or whom the event is about."""
        return id_or_none(self.user)

    @property
    def message_id(self):
        """The message, when it has a number."""
        return id_or_none(self.message)

    @property
    def time(self):
        """As sent, mostly in seconds since 1970."""
        return id_or_none(self.when)

    @property
    def data(self):
        """The decoded object, decoded at the first use and shared by all who ask: do not change it."""
        if self.decoded is None:
            self.decoded = decode(self.raw)
        return self.decoded

    def json(self):
        """Decode afresh: a dict of the caller's own."""
        return decode(self.raw)

    @property
    def text(self):
        """The plain text of a message (``plain_text``), made at the first use; ``""`` for other events."""
        if self.event_class != CLASSES[MESSAGE]:
            return ""
        if self.plain is None:
            self.plain = plain_text(self.data.get("message"))
        return self.plain

    def signature(self, secret, /):
        """The ``X-Signature`` of a POST whose body is ``raw`` (OneBot 11, communication/http-post).

        HMAC-SHA1 with ``secret``, computed once per secret.

        Raises:
            TypeError: ``secret`` is not bytes.
        """
        cdef bytes key = plain_bytes(secret)
        if self.signatures is None:
            self.signatures = {}
        if key not in self.signatures:
            self.signatures[key] = "sha1=" + digest(key, self.raw, "sha1").hex()
        return self.signatures[key]

    @staticmethod
    def from_dict(data, /):
        """Encode ``data`` once and peek it, for publishers in the same process.

        Raises:
            TypeError: orjson cannot encode it.
            BadEvent: it has no ``post_type``.
        """
        return peek(orjson.dumps(data))

    def __eq__(self, other, /):
        return self.raw == (<Event> other).raw if isinstance(other, Event) else NotImplemented

    def __hash__(self):
        return hash(self.raw)

    def __repr__(self):
        return (
            f"<Event {self.kind} self_id={self.self_id} group_id={self.group_id} user_id={self.user_id}"
            f" message_id={self.message_id} size={len(self.raw)}>"
        )

    def __reduce__(self):
        return peek, (self.raw,)


@cython.final
@cython.freelist(16)
cdef class Response:
    """One frame that is no event: the answer to an API call; immutable.

    ``raw`` are the received bytes; ``status`` is ``ok``, ``async`` or ``failed``; ``stream`` is
    NapCat's mark of answers that come in several frames.
    """

    cdef readonly bytes raw
    cdef readonly str status
    cdef readonly str stream
    cdef object decoded
    cdef int64_t code
    cdef bint has_retcode
    cdef nc_span echo_at
    cdef size_t echo_key

    @property
    def retcode(self):
        """The integer code, None if there is none; 0 is success."""
        return self.code if self.has_retcode else None

    @property
    def echo(self):
        """The JSON value of ``echo``, byte for byte; None when there is none (``null`` is ``b"null"``)."""
        return slice_or_none(self.raw, self.echo_at)

    @property
    def echo_span(self):
        """Start and end of that value in ``raw``."""
        return span_or_none(self.echo_at.start, self.echo_at)

    @property
    def echo_member(self):
        """Start of the key's opening quote and end of the value in ``raw``."""
        return span_or_none(self.echo_key, self.echo_at)

    @property
    def data(self):
        """The decoded object, decoded at the first use and shared by all who ask: do not change it."""
        if self.decoded is None:
            self.decoded = decode(self.raw)
        return self.decoded

    def json(self):
        """Decode afresh: a dict of the caller's own."""
        return decode(self.raw)

    def __repr__(self):
        return f"<Response {self.status} retcode={self.retcode} size={len(self.raw)}>"


@cython.final
@cython.freelist(16)
cdef class Request:
    """One API request of a client; immutable.

    ``raw`` are the received bytes, ``action`` is the API to call, ``message_type`` comes from
    ``params``.
    """

    cdef readonly bytes raw
    cdef readonly str action
    cdef readonly str message_type
    cdef object decoded
    cdef int64_t group, user, account
    cdef nc_span echo_at, params_at

    @property
    def group_id(self):
        """``params.group_id``."""
        return id_or_none(self.group)

    @property
    def user_id(self):
        """``params.user_id``."""
        return id_or_none(self.user)

    @property
    def self_id(self):
        """``params.self_id``."""
        return id_or_none(self.account)

    @property
    def echo(self):
        """The JSON value of ``echo``, byte for byte; None when there is none."""
        return slice_or_none(self.raw, self.echo_at)

    @property
    def echo_span(self):
        """Start and end of that value in ``raw``."""
        return span_or_none(self.echo_at.start, self.echo_at)

    @property
    def params_span(self):
        """Start and end of the value of ``params`` in ``raw``, of any type."""
        return span_or_none(self.params_at.start, self.params_at)

    @property
    def data(self):
        """The decoded object, decoded at the first use and shared by all who ask: do not change it."""
        if self.decoded is None:
            self.decoded = decode(self.raw)
        return self.decoded

    def json(self):
        """Decode afresh: a dict of the caller's own."""
        return decode(self.raw)

    def __repr__(self):
        return f"<Request {self.action} size={len(self.raw)}>"
