# Part of _dispatch.pyx: which clients want an event.

cdef enum:
    # The indexes of a router, in the order of a row's rules.
    GROUPS, EXCLUDED_GROUPS, USERS, EXCLUDED_USERS, KINDS, EXCLUDED_KINDS, ACCOUNTS

cdef enum:
    # The sets of rows beside them; before these, for each index the set of rows without such a list.
    PRIVATE = INDEXES
    SELF_MESSAGES, ACTIVE, CONDITIONAL, KEEPERS, NO_ROW, FOUND, EVERY_ROW, ROW_SETS

cdef enum:
    # How the rules on groups and users apply to an event, by its kind.
    META, ABOUT_ACCOUNT, JOIN_OR_LEAVE, PRIVATE_MESSAGE, ALWAYS_IN_A_GROUP, PERHAPS_IN_A_GROUP

cdef enum:
    LONGEST_KEPT_KIND = 128

cdef object log = logging.getLogger("napcore")


cdef tuple check_ids(str name, object values):
    cdef list ids = list(values)
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must hold integers, not {value!r}")
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError(f"{name}: {value} does not fit 64 bits")
    return tuple(ids)


cdef tuple check_patterns(str name, object values):
    if isinstance(values, str):
        raise TypeError(f"{name} must be a collection of patterns, not one string")
    cdef list patterns = list(values)
    for value in patterns:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold strings, not {value!r}")
        if not value:
            raise ValueError(f"{name}: a pattern must not be empty")
    return tuple(patterns)


cdef tuple check_shard(object shard):
    number, count = shard
    if isinstance(number, bool) or not isinstance(number, int) or isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"shard must be a pair of integers, not {shard!r}")
    if not 1 <= number <= count < 1 << 31:
        raise ValueError(f"shard must be (number, count) with 1 <= number <= count, not {shard!r}")
    return number, count


cdef tuple check_rules(
    groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
):
    return (
        None if groups is None else check_ids("groups", groups),
        check_ids("exclude_groups", exclude_groups),
        None if users is None else check_ids("users", users),
        check_ids("exclude_users", exclude_users),
        None if kinds is None else check_patterns("kinds", kinds),
        check_patterns("exclude_kinds", exclude_kinds),
        None if self_ids is None else check_ids("self_ids", self_ids),
        bool(private),
        bool(self_messages),
        None if shard is None else check_shard(shard),
    )


def _check_parts(
    groups=None,
    exclude_groups=(),
    users=None,
    exclude_users=(),
    kinds=None,
    exclude_kinds=(),
    self_ids=None,
    private=True,
    self_messages=False,
    shard=None,
    condition=None,
    text=None,
):
    """The rules of a ``keep``, and what is asked of a message beside them."""
    cdef tuple rules = check_rules(
        groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
    )
    check_condition(condition)
    return rules, condition, text


cdef int check_condition(object condition) except -1:
    if condition is not None and not callable(condition):
        raise TypeError(f"a condition must be callable, not {type(condition).__name__}")
    return 0


cdef inline void mark(uint64_t *rows, size_t row, bint on) noexcept nogil:
    if on:
        rows[row // 64] |= <uint64_t> 1 << (row % 64)
    else:
        rows[row // 64] &= ~(<uint64_t> 1 << (row % 64))


cdef int treatment_of(str kind, str sub_type) except -1:
    if kind is None:
        return PERHAPS_IN_A_GROUP
    if kind.partition(".")[0] == "meta_event":
        return META
    if kind == "message.group" or kind == "message_sent.group":
        return ALWAYS_IN_A_GROUP
    if kind == "message.private" or kind == "message_sent.private":
        return PRIVATE_MESSAGE
    if kind == "request.group":
        return ABOUT_ACCOUNT if sub_type == "invite" else ALWAYS_IN_A_GROUP
    if kind == "notice.group_increase" or kind == "notice.group_decrease":
        return JOIN_OR_LEAVE
    if kind == "notice.bot_offline":
        return ABOUT_ACCOUNT
    return PERHAPS_IN_A_GROUP


cdef list prefixes_of(str path, Py_ssize_t longest):
    """All patterns that match the path, but for those that nobody can have given: they are longer."""
    cdef list patterns = ["*", path]
    cdef Py_ssize_t at = path.find(".")
    while 0 <= at <= longest:
        patterns.append(path[:at])
        patterns.append(path[:at] + ".*")
        at = path.find(".", at + 1)
    return patterns


@cython.final
cdef class Router:
    """Which outboxes want an event. Rows are numbered from 0; freed numbers are used again, lowest first.

    A row's rules, all of which must hold:

    ``self_ids``: only events of these accounts. ``kinds``, ``exclude_kinds``: patterns on
    ``kind`` and ``kind.sub_type`` at dot borders: ``notice.notify`` takes itself and all below,
    ``notice.*`` only what is below, ``*`` everything; exclusion wins. These apply to every event.

    ``self_messages``: whether ``message_sent`` passes at all. ``groups``, ``exclude_groups``:
    judge the events of a group; private messages, friend requests and notices without a group
    are not theirs to stop. ``private``: whether private messages pass. ``users``,
    ``exclude_users``: judge messages, notices and requests by their user; an allow-list stops
    those without one. Meta events pass all of these; what is about the account itself (an
    invitation, its own joining or leaving, ``bot_offline``) is stopped by ``exclude_groups`` alone.

    ``shard``, a pair (number from 1, count), takes the events of which the CRC-32 of
    ``self_id:group`` says so (0 for what is missing, and for the group of a private message): each
    event but meta events passes exactly one of the ``count`` shards.

    ``sequence`` is the number of the last event that was fanned out, 0 before the first.

    ``keep``, keyword arguments of rules, says which of a row's messages are evicted after the
    others. They take a number of their own, which is freed with the row's, and match nothing.

    Args:
        memory_limit: bytes of events that its rows' outboxes may hold together, each form of an
            event counted once. When there are more, the events with the lowest sequences go, out
            of every lane that has them (reason ``budget``); what is written already keeps its
            place, but cannot be written again.

    Raises:
        ValueError: ``memory_limit`` is 0, negative or NaN.
    """

    def __init__(self, memory_limit=INFINITY):
        self.memory_limit = most("memory_limit", memory_limit)

    def __cinit__(self):
        self.memory_limit = INT64_MAX
        self.keepers = {}
        self.account = open_account()
        self.outboxes = []
        self.rules = []
        self.free_rows = []
        self.patterns = {}
        self.shards = {}
        self.conditions = {}
        self.text_rows = {}
        self.texts = TextIndex()
        self.failed = set()
        self.widen(1)

    def __dealloc__(self):
        self.forget_kinds()
        free(self.kind_rows)
        free(self.sets)
        free(self.lanes)
        free(self.variants)
        free(self.kept_rows)
        free(self.variant_rows[0])
        if self.account != NULL:
            leave_account(self.account)
        for index in range(INDEXES):
            nc_index_free(&self.indexes[index])

    @property
    def memory(self):
        """Bytes of events that are held, each form of an event counted once."""
        return self.account.bytes

    def __len__(self):
        """How many rows there are, those of ``keep`` left out."""
        return len(self.outboxes) - len(self.free_rows) - len(self.keepers)

    def add(
        self,
        Outbox outbox not None,
        form="json",
        *,
        message_format=None,
        groups=None,
        exclude_groups=(),
        users=None,
        exclude_users=(),
        kinds=None,
        exclude_kinds=(),
        self_ids=None,
        private=True,
        self_messages=False,
        shard=None,
        condition=None,
        text=None,
        keep=None,
    ):
        """Add a row that offers matching events to ``outbox`` as ``form``; returns its number.

        ``message_format`` is how their messages are written then, "array" or "string"; None is as
        received.

        Raises:
            TypeError: an argument or a member of a collection has the wrong type.
            ValueError: the form or format is unknown, an id does not fit 64 bits, or a pattern is empty.
        """
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        cdef int variant = FORMS.index(form)
        if message_format is not None:
            variant += FORM_COUNT * (1 + index_of_format(message_format))
        cdef tuple rules = check_rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        cdef tuple kept = None if keep is None else _check_parts(**keep)
        cdef size_t row, keeper
        check_condition(condition)
        row = self.new_row(rules, condition, text)
        if kept is not None:
            try:
                keeper = self.new_row(kept[0], kept[1], kept[2])
            except BaseException:
                self.free_row(row)
                raise
            self.keepers[row] = keeper
            self.kept_rows[keeper] = <uint32_t> row
            mark(self.rows_of(KEEPERS), keeper, True)
        self.outboxes[row] = outbox
        self.lanes[row] = outbox.lane
        self.variants[row] = variant
        self.variant_counts[variant] += 1
        mark(self.variant_rows[variant], row, True)
        return row

    cdef size_t new_row(self, tuple rules, object condition, object text) except? 0:
        """A row with these rules and no outbox."""
        cdef size_t row = self.free_rows[0] if self.free_rows else len(self.outboxes)
        if row == self.words * 64:
            self.widen(self.words * 2)
        text_row = None if text is None else self.texts.add(**text)
        try:
            self.install(row, rules)
        except MemoryError:
            if text_row is not None:
                self.texts.remove(text_row)
            raise
        self.attach(row, condition, text_row)
        if self.free_rows:
            heapq.heappop(self.free_rows)
            self.rules[row] = rules
        else:
            self.outboxes.append(None)
            self.rules.append(rules)
        return row

    cdef int free_row(self, size_t row) except -1:
        heapq.heappush(self.free_rows, row)
        self.uninstall(row, self.rules[row])
        self.detach(row)
        self.outboxes[row] = None
        self.rules[row] = None
        return 0

    def replace(
        self,
        row,
        *,
        groups=None,
        exclude_groups=(),
        users=None,
        exclude_users=(),
        kinds=None,
        exclude_kinds=(),
        self_ids=None,
        private=True,
        self_messages=False,
        shard=None,
        condition=None,
        text=None,
    ):
        """Give ``row`` new rules; its outbox, form, message format and ``keep`` stay.

        Raises:
            KeyError: there is no such row.
            TypeError: an argument or a member of a collection has the wrong type.
            ValueError: an id does not fit 64 bits, or a pattern is empty.
        """
        cdef size_t number = self.row_of(row)
        cdef tuple rules = check_rules(
            groups, exclude_groups, users, exclude_users, kinds, exclude_kinds, self_ids, private, self_messages, shard
        )
        cdef tuple before = self.rules[number]
        check_condition(condition)
        text_row = None if text is None else self.texts.add(**text)
        self.uninstall(number, before)
        try:
            self.install(number, rules)
        except MemoryError:
            if text_row is not None:
                self.texts.remove(text_row)
            # There was room for these a moment ago.
            self.install(number, before)
            mark(self.rows_of(CONDITIONAL), number, number in self.conditions or number in self.text_rows)
            raise
        self.rules[number] = rules
        self.detach(number)
        self.attach(number, condition, text_row)

    def remove(self, row):
        """Forget ``row``; its number may be given out again.

        Raises:
            KeyError: there is no such row.
        """
        cdef size_t number = self.row_of(row)
        self.lanes[number] = NULL
        self.variant_counts[self.variants[number]] -= 1
        mark(self.variant_rows[self.variants[number]], number, False)
        self.free_row(number)
        keeper = self.keepers.pop(number, None)
        if keeper is not None:
            self.free_row(keeper)

    def match(self, Event event not None, int64_t account=0):
        """The rows that want ``event``, ascending; ``account`` stands in for a missing ``self_id``."""
        cdef const uint64_t *found = self.find(event, account)
        cdef list rows = []
        cdef uint64_t bits
        cdef size_t word
        for word in range(self.words):
            bits = found[word] & ~self.rows_of(KEEPERS)[word]
            while bits:
                rows.append(word * 64 + nc_lowest_bit(bits))
                bits &= bits - 1
        return rows

    cdef bint find_kept(self, uint64_t *kept) noexcept:
        """Whether any rows are to keep the event just found longest, and which."""
        cdef const uint64_t *found = self.rows_of(FOUND)
        cdef uint64_t bits
        cdef size_t word
        cdef bint any_kept = False
        memset(kept, 0, self.words * sizeof(uint64_t))
        for word in range(self.words):
            bits = found[word] & self.rows_of(KEEPERS)[word]
            while bits:
                mark(kept, self.kept_rows[word * 64 + nc_lowest_bit(bits)], True)
                any_kept = True
                bits &= bits - 1
        return any_kept

    cdef int economize(self) except -1:
        """Let go what is oldest until the rest is within the budget."""
        cdef int64_t lowest
        cdef Py_ssize_t row
        while self.account.bytes > self.memory_limit:
            lowest = INT64_MAX
            for row in range(len(self.outboxes)):
                if self.lanes[row] != NULL:
                    lowest = min(lowest, (<Outbox> self.lanes[row].box).lowest())
            if lowest == INT64_MAX:
                return 0
            for row in range(len(self.outboxes)):
                if self.lanes[row] != NULL:
                    (<Outbox> self.lanes[row].box).economize(lowest)
        return 0

    cdef size_t row_of(self, object row) except? 0:
        if not isinstance(row, int) or not 0 <= row < len(self.outboxes) or self.outboxes[row] is None:
            raise KeyError(row)
        return row

    cdef uint64_t *rows_of(self, int which) noexcept:
        return self.sets + which * self.words

    cdef const uint64_t *listing(self, int index, int64_t number) noexcept:
        """The rows whose list has the number; 0 is in no list."""
        cdef const uint64_t *rows = nc_index_find(&self.indexes[index], number) if number else NULL
        return rows if rows != NULL else self.rows_of(NO_ROW)

    cdef int widen(self, size_t words) except -1:
        """Make all sets of rows this many words long."""
        cdef int which
        cdef size_t word
        cdef uint64_t *sets = <uint64_t *> calloc(ROW_SETS * words, sizeof(uint64_t))
        cdef uint64_t *kind_rows = <uint64_t *> malloc((KIND_SLOTS + 1) * words * sizeof(uint64_t))
        cdef Lane **lanes = <Lane **> calloc(words * 64, sizeof(Lane *))
        cdef uint8_t *variants = <uint8_t *> calloc(words * 64, 1)
        cdef uint32_t *kept_rows = <uint32_t *> calloc(words * 64, sizeof(uint32_t))
        cdef uint64_t *variant_rows = <uint64_t *> calloc(VARIANT_COUNT * words, sizeof(uint64_t))
        cdef bint good = sets != NULL and kind_rows != NULL and lanes != NULL and variants != NULL
        good = good and variant_rows != NULL and kept_rows != NULL
        for which in range(INDEXES):
            good = good and nc_index_widen(&self.indexes[which], words)
        if not good:
            free(sets)
            free(kind_rows)
            free(lanes)
            free(variants)
            free(kept_rows)
            free(variant_rows)
            raise MemoryError
        for which in range(NO_ROW):
            for word in range(self.words):
                sets[which * words + word] = self.rows_of(which)[word]
        memset(sets + EVERY_ROW * words, 0xFF, words * sizeof(uint64_t))
        if self.words:
            memcpy(lanes, self.lanes, self.words * 64 * sizeof(Lane *))
            memcpy(variants, self.variants, self.words * 64)
            memcpy(kept_rows, self.kept_rows, self.words * 64 * sizeof(uint32_t))
            for which in range(VARIANT_COUNT):
                memcpy(variant_rows + which * words, self.variant_rows[which], self.words * sizeof(uint64_t))
        self.forget_kinds()
        free(self.kind_rows)
        free(self.sets)
        free(self.lanes)
        free(self.variants)
        free(self.kept_rows)
        free(self.variant_rows[0])
        for which in range(VARIANT_COUNT):
            self.variant_rows[which] = variant_rows + which * words
        self.sets = sets
        self.kind_rows = kind_rows
        self.lanes = lanes
        self.variants = variants
        self.kept_rows = kept_rows
        self.words = words
        return 0

    cdef int install(self, size_t row, tuple rules) except -1:
        """Enter the rules of a row that has none; where memory ends, it has none again."""
        cdef int which
        self.forget_kinds()
        try:
            for which in range(INDEXES):
                if rules[which] is None:
                    mark(self.rows_of(which), row, True)
                    continue
                for item in rules[which]:
                    if which == KINDS or which == EXCLUDED_KINDS:
                        item = self.number_of(item)
                    if not nc_index_set(&self.indexes[which], item, row):
                        raise MemoryError
        except MemoryError:
            self.uninstall(row, rules)
            raise
        mark(self.rows_of(PRIVATE), row, rules[INDEXES])
        mark(self.rows_of(SELF_MESSAGES), row, rules[INDEXES + 1])
        mark(self.rows_of(ACTIVE), row, True)
        if rules[INDEXES + 2] is not None:
            self.shards[row] = rules[INDEXES + 2]
        return 0

    cdef int uninstall(self, size_t row, tuple rules) except -1:
        cdef int which
        self.forget_kinds()
        self.shards.pop(row, None)
        for which in range(NO_ROW):
            mark(self.rows_of(which), row, False)
        for which in range(INDEXES):
            for item in rules[which] or ():
                if which != KINDS and which != EXCLUDED_KINDS:
                    nc_index_clear(&self.indexes[which], item, row)
                elif item in self.patterns:
                    number = self.patterns[item]
                    nc_index_clear(&self.indexes[which], number, row)
                    if not self.lists_pattern(number):
                        del self.patterns[item]
        return 0

    cdef int attach(self, size_t row, object condition, object text_row) except -1:
        """Enter what is asked of a row beside its rules; it has none of it."""
        if condition is not None:
            self.conditions[row] = condition
        if text_row is not None:
            self.text_rows[row] = text_row
        mark(self.rows_of(CONDITIONAL), row, condition is not None or text_row is not None)
        return 0

    cdef int detach(self, size_t row) except -1:
        self.failed.discard(row)
        self.conditions.pop(row, None)
        text_row = self.text_rows.pop(row, None)
        if text_row is not None:
            self.texts.remove(text_row)
        mark(self.rows_of(CONDITIONAL), row, False)
        return 0

    cdef object number_of(self, str pattern):
        """The number that stands for the pattern in the indexes."""
        if pattern not in self.patterns:
            self.patterns_made += 1
            self.patterns[pattern] = self.patterns_made
            self.longest_pattern = max(self.longest_pattern, len(pattern))
        return self.patterns[pattern]

    cdef bint lists_pattern(self, int64_t number) noexcept:
        return (
            nc_index_find(&self.indexes[KINDS], number) != NULL
            or nc_index_find(&self.indexes[EXCLUDED_KINDS], number) != NULL
        )

    cdef void forget_kinds(self) noexcept:
        for at in range(KIND_SLOTS):
            Py_XDECREF(self.kind_slots[at].kind)
            Py_XDECREF(self.kind_slots[at].sub_type)
            self.kind_slots[at].kind = self.kind_slots[at].sub_type = NULL

    cdef Py_ssize_t kind_slot(self, str kind, str sub_type) except -1:
        """The slot with what these decide: the rows that may want such an event, and its treatment."""
        cdef uint64_t mixed = (<uint64_t> <size_t> <PyObject *> kind >> 4) * <uint64_t> 0x9E3779B97F4A7C15
        mixed ^= (<uint64_t> <size_t> <PyObject *> sub_type >> 4) * <uint64_t> 0xC2B2AE3D27D4EB4F
        cdef Py_ssize_t at = mixed >> 56
        cdef KindSlot *slot = &self.kind_slots[at]
        # Texts that come again are the same objects, so that their addresses will do.
        if slot.kind == <PyObject *> kind and slot.sub_type == <PyObject *> sub_type:
            return at
        cdef str path = "" if kind is None else f"{kind}.{sub_type}" if sub_type else kind
        if len(path) > LONGEST_KEPT_KIND:
            at = KIND_SLOTS
            slot = &self.kind_slots[at]
        cdef list numbers = [
            self.patterns[pattern] for pattern in prefixes_of(path, self.longest_pattern) if pattern in self.patterns
        ]
        cdef bint private = kind == "message.private" or kind == "message_sent.private"
        cdef bint own = kind is not None and kind.partition(".")[0] == "message_sent"
        cdef int treatment = treatment_of(kind, sub_type)
        cdef uint64_t *rows = self.kind_rows + at * self.words
        cdef const uint64_t *listed
        cdef size_t word
        memcpy(rows, self.rows_of(KINDS), self.words * sizeof(uint64_t))
        for number in numbers:
            listed = self.listing(KINDS, number)
            for word in range(self.words):
                rows[word] |= listed[word]
        for number in numbers:
            listed = self.listing(EXCLUDED_KINDS, number)
            for word in range(self.words):
                rows[word] &= ~listed[word]
        for word in range(self.words):
            rows[word] &= self.rows_of(ACTIVE)[word]
            rows[word] &= self.rows_of(PRIVATE if private else EVERY_ROW)[word]
            rows[word] &= self.rows_of(SELF_MESSAGES if own else EVERY_ROW)[word]
        slot.treatment = treatment
        if at < KIND_SLOTS:
            Py_INCREF(kind)
            Py_INCREF(sub_type)
            Py_XDECREF(slot.kind)
            Py_XDECREF(slot.sub_type)
            slot.kind = <PyObject *> kind
            slot.sub_type = <PyObject *> sub_type
        return at

    cdef list route(self, list events, double now, int64_t account, const double *born, Routed *routed):
        """``fan_out`` for what are events, in a list that nobody else has; returns what is ``Report.ready``.

        ``born`` has the time of birth of each; NULL is now.
        """
        return offer_all(self, events, now, account, born, routed)

    cdef uint64_t *find(self, Event event, int64_t account) except NULL:
        """The set of rows that want the event; it is good until the next call."""
        cdef Py_ssize_t slot = self.kind_slot(event.kind, event.sub_type)
        cdef int treatment = self.kind_slots[slot].treatment
        cdef const uint64_t *nothing = self.rows_of(NO_ROW)
        cdef const uint64_t *every = self.rows_of(EVERY_ROW)
        cdef uint64_t *found = self.rows_of(FOUND)
        cdef nc_rule accounts, groups, users
        cdef int64_t given = account
        if event.account:
            account = event.account
        if treatment == JOIN_OR_LEAVE:
            treatment = ABOUT_ACCOUNT if event.user and event.user == account else PERHAPS_IN_A_GROUP
        accounts.open = self.rows_of(ACCOUNTS)
        accounts.listed = self.listing(ACCOUNTS, account)
        groups.open = users.open = every
        groups.listed = users.listed = nothing
        accounts.excluded = groups.excluded = users.excluded = nothing
        if treatment != META and treatment != PRIVATE_MESSAGE:
            if treatment == ALWAYS_IN_A_GROUP or (event.group and treatment != ABOUT_ACCOUNT):
                groups.open = self.rows_of(GROUPS)
                groups.listed = self.listing(GROUPS, event.group)
            groups.excluded = self.listing(EXCLUDED_GROUPS, event.group)
        if treatment != META and treatment != ABOUT_ACCOUNT:
            users.open = self.rows_of(USERS)
            users.listed = self.listing(USERS, event.user)
            users.excluded = self.listing(EXCLUDED_USERS, event.user)
        memcpy(found, self.kind_rows + slot * self.words, self.words * sizeof(uint64_t))
        nc_apply(found, self.words, accounts, groups, users)
        if self.shards and treatment != META:
            self.apply_shards(found, account, 0 if treatment == PRIVATE_MESSAGE else event.group)
        if PyDict_Size(self.conditions) or PyDict_Size(self.text_rows):
            self.judge(event, given)
        return self.rows_of(FOUND)

    cdef int apply_shards(self, uint64_t *found, int64_t account, int64_t group) except -1:
        """Take out the rows of which another shard gets the event."""
        cdef unsigned long hash_ = crc32(b"%d:%d" % (account, group))
        cdef unsigned long number, count
        cdef size_t row
        for item, shard in self.shards.items():
            row = item
            number, count = shard
            if hash_ % count != number - 1:
                mark(found, row, False)
        return 0

    cdef int judge(self, Event event, int64_t account) except -1:
        """Take out the rows that matched and whose conditions the event does not meet."""
        cdef const uint64_t *found = self.rows_of(FOUND)
        cdef const uint64_t *conditional = self.rows_of(CONDITIONAL)
        cdef size_t size = self.words * sizeof(uint64_t)
        cdef list rows
        cdef bytes before
        cdef uint64_t bits = 0
        cdef size_t word
        for word in range(self.words):
            bits |= found[word] & conditional[word]
        if not bits:
            return 0
        rows = []
        for word in range(self.words):
            bits = found[word] & conditional[word]
            while bits:
                rows.append(word * 64 + nc_lowest_bit(bits))
                bits &= bits - 1
        before = PyBytes_FromStringAndSize(<const char *> found, size)
        rows = self.failing(rows, event, account)
        # A condition may have asked this router about another event, given it more rows or removed some.
        memset(self.rows_of(FOUND), 0, self.words * sizeof(uint64_t))
        memcpy(self.rows_of(FOUND), PyBytes_AS_STRING(before), size)
        for row in rows:
            mark(self.rows_of(FOUND), row, False)
        for word in range(self.words):
            self.rows_of(FOUND)[word] &= self.rows_of(ACTIVE)[word]
        return 0

    cdef list failing(self, list rows, Event event, int64_t account):
        cdef list failed = []
        wanted = None
        for row in rows:
            text_row = self.text_rows.get(row)
            condition = self.conditions.get(row)
            try:
                if text_row is not None and event.event_class == CLASSES[MESSAGE]:
                    if wanted is None:
                        wanted = set(self.texts.match(event.text))
                    if text_row not in wanted:
                        failed.append(row)
                        continue
                if condition is not None and not condition(event, account):
                    failed.append(row)
            except Exception as error:
                failed.append(row)
                if row not in self.failed:
                    self.failed.add(row)
                    log.warning("a condition raised %s, which counts as no match", type(error).__name__)
        return failed
