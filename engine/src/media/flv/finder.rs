//! Finds the tags in FLV bytes, also where some of the bytes are no tag.
//!
//! ```text
//!   header | 0 | tag | size | tag | size | garbage | tag | size | half a ta
//!              '------ a row ------------'          '- found by its size -'
//! ```
//!
//! In a row each tag is taken where the last one ended. The size behind it confirms it; where many writers get that
//! wrong, what looks like the next tag does. Where a row breaks, each byte is looked at once, until a tag ends there
//! whose size says so, or three plausible tags follow each other. What is held is one tag of the longest kind, and
//! what is done is the same for every byte.

use super::{FILE_HEADER_LEN, FileHeader, HeaderError, TAG_HEADER_LEN, TagContent, TagHeader};
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Bytes of "previous tag size".
const SIZE_LEN: u64 = 4;

/// A step of time between two tags from which on the second one's header is doubted, in milliseconds.
const DOUBTFUL_STEP_MS: u32 = 10 * 60 * 1_000;

/// Plausible tags in a row that count where their sizes confirm nothing.
const ROW: u8 = 3;

bound! {
    /// Rows that are followed at once while a tag is searched
    /// (test `of_bytes_that_are_full_of_what_looks_like_tags_few_rows_are_kept`).
    const MAX_ROWS: usize = 64, without usize::MAX;
    /// Longest way from a file header to the first tag: the data offset is 9 in every file that is known
    /// (test `a_file_header_that_leads_far_away_is_none`).
    const MAX_DATA_OFFSET: u32 = 4 * 1024, without u32::MAX;
    /// Longest tag of unknown type that a stream waits for
    /// (test `a_long_tag_of_unknown_type_is_not_waited_for`).
    const MAX_UNKNOWN: u32 = 64 * 1024, without u32::MAX;
    /// Bytes without any tag after which a stream is told of it
    /// (test `what_is_no_flv_is_told_and_tags_that_come_later_are_read_all_the_same`).
    const TELL_AFTER: u64 = 1024 * 1024, without 1 << 60;
    /// What is kept of the window's memory when nothing needs it
    /// (test `memory_of_a_long_tag_is_given_back_after_it`).
    const SPARE_CAPACITY: usize = 1024 * 1024, without usize::MAX;
}

/// Bytes of an FLV file or stream that are part of no tag and were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// All of them.
    pub bytes: u64,
    /// In how many pieces.
    pub places: u64,
    /// Offset of the first piece.
    pub position: u64,
}

impl LeftOut {
    fn add(&mut self, from: u64, to: u64) {
        let bytes = to.saturating_sub(from);
        if bytes == 0 {
            return;
        }
        if self.places == 0 {
            self.position = from;
        }
        self.places = self.places.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, places, position } = self;
        match places {
            1 => write!(f, "{bytes} bytes at byte {position}"),
            _ => write!(f, "{bytes} bytes in {places} places, the first at byte {position}"),
        }
    }
}

/// A tag as it lies in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundTag {
    /// Offset of its header.
    pub(crate) position: u64,
    pub(crate) header: TagHeader,
    pub(crate) payload: Bytes,
}

/// What a stream should be told of, though tags may still follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The tag at this offset has so many bytes, more than are allowed.
    TooLong { position: u64, length: u32 },
    /// From this offset on so many bytes hold no tag.
    NoTag { position: u64, bytes: u64 },
}

/// Bytes in, tags out.
#[derive(Debug)]
pub(crate) struct TagFinder {
    max_payload: u32,
    /// Tags are given only when what follows has been looked at.
    holds: bool,
    /// Bytes of the whole input, once that is known.
    length: Option<u64>,
    window: Window,
    state: State,
    /// Offset of what the state is about.
    at: u64,
    search: Search,
    header: Option<FileHeader>,
    header_error: Option<(u64, HeaderError)>,
    /// Where the newest file header says that the size before the first tag is.
    first_size: Option<u64>,
    truncated_at: Option<u64>,
    left_out: LeftOut,
    tags: u64,
    encrypted: u64,
    /// Time and stream id of the newest tag.
    newest: Option<(u32, u32)>,
    sizes: Sizes,
    problem: Option<Problem>,
}

/// Sizes behind tags so far.
#[derive(Debug, Default)]
struct Sizes {
    right: u64,
    wrong: u64,
}

impl Sizes {
    /// Whether a wrong one may be this writer's habit, and is no sign of damage.
    fn may_be_wrong(&self) -> bool {
        self.wrong >= self.right
    }
}

#[derive(Debug)]
enum State {
    /// The first byte of all.
    Start,
    /// "Previous tag size" after a file header, which ends at this offset.
    FirstSize(u64),
    /// A tag or another file header.
    Tag,
    /// The rest of a tag.
    Payload(TagHeader),
    /// What follows a tag.
    Behind(Ended),
    Lost(Lost),
    Done,
}

/// A tag that is there to its last byte, and not confirmed yet.
#[derive(Debug, Clone, Copy)]
struct Ended {
    header: TagHeader,
    end: u64,
    is_given: bool,
}

/// The row is broken.
#[derive(Debug)]
struct Lost {
    /// First byte that is left out if no tag is found before `last_end`.
    from: u64,
    /// The last tag of the row: it counts unless one is found within it.
    last: Option<FoundTag>,
    /// Where that ends.
    last_end: Option<u64>,
    /// What starts at `from` looks like a tag whose end is missing.
    is_half: bool,
    /// Where a stream is told next that there is no tag.
    tell_at: u64,
}

/// Looks for tags byte by byte.
#[derive(Debug, Default)]
struct Search {
    /// No tag starts before.
    from: u64,
    /// Offset of the next header to look at.
    next: u64,
    /// Offset where the next tag of a row is expected; the row's start, and its tags so far.
    rows: BTreeMap<u64, (u64, u8)>,
    /// Start of the first tag that was found.
    first: Option<u64>,
    found: u32,
}

enum Step {
    On,
    Tag(FoundTag),
    /// More bytes are needed.
    Wait,
}

impl TagFinder {
    /// For a file of `length` bytes.
    pub(crate) fn file(length: u64) -> Self {
        Self { holds: true, length: Some(length), ..Self::stream(usize::MAX) }
    }

    /// For bytes whose number is not known. Tags are given as soon as their payload is whole.
    pub(crate) fn stream(max_payload: usize) -> Self {
        Self {
            max_payload: u32::try_from(max_payload).unwrap_or(u32::MAX).min(0x00ff_ffff),
            holds: false,
            length: None,
            window: Window::default(),
            state: State::Start,
            at: 0,
            search: Search::default(),
            header: None,
            header_error: None,
            first_size: None,
            truncated_at: None,
            left_out: LeftOut::default(),
            tags: 0,
            encrypted: 0,
            newest: None,
            sizes: Sizes::default(),
            problem: None,
        }
    }

    /// Takes the next bytes; to be called when [`next`](Self::next) has given all it can.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let oldest = match &self.state {
            // A tag that ends in what comes starts here at the earliest.
            State::Lost(_) => self.search.next.saturating_sub(u64::from(self.max_payload).saturating_add(15)),
            State::Done => u64::MAX,
            State::FirstSize(header_end) => after_signature(*header_end),
            _ => self.at,
        };
        self.window.forget(oldest.max(self.search_start(oldest)));
        self.window.extend(bytes);
    }

    fn search_start(&self, oldest: u64) -> u64 {
        if matches!(self.state, State::Lost(_)) { self.search.from } else { oldest }
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self) {
        self.length = Some(self.window.end());
    }

    /// Offset of the next byte that is to be fed.
    pub(crate) fn fed(&self) -> u64 {
        self.window.end()
    }

    /// Offset of the next tag, as far as it is known.
    pub(crate) fn position(&self) -> u64 {
        self.at.min(self.length.unwrap_or(u64::MAX))
    }

    /// The first file header.
    pub(crate) fn header(&self) -> Option<FileHeader> {
        self.header
    }

    /// What was wrong with the first file header that made no sense, and its offset.
    pub(crate) fn header_error(&self) -> Option<(u64, HeaderError)> {
        self.header_error
    }

    pub(crate) fn truncated_at(&self) -> Option<u64> {
        self.truncated_at
    }

    pub(crate) fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Tags that were passed over because they are encrypted.
    pub(crate) fn encrypted(&self) -> u64 {
        self.encrypted
    }

    /// Whether a file header or a tag has been seen.
    pub(crate) fn is_recognised(&self) -> bool {
        self.header.is_some() || self.tags > 0 || self.encrypted > 0
    }

    /// Whether nothing of a tag is missing if the input ends here.
    pub(crate) fn is_between_tags(&self) -> bool {
        match self.state {
            State::Start | State::Tag => self.window.end() <= self.at,
            State::Behind(_) | State::FirstSize(_) | State::Done => true,
            State::Payload(_) | State::Lost(_) => false,
        }
    }

    /// Takes what there is to tell.
    pub(crate) fn take_problem(&mut self) -> Option<Problem> {
        self.problem.take()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.window.bytes.capacity()
    }

    /// The next tag that is no encrypted one; `None` when more bytes are needed, there is a problem to tell, or the
    /// input has ended.
    pub(crate) fn next(&mut self) -> Option<FoundTag> {
        while self.problem.is_none() {
            match self.step() {
                Step::On => {}
                Step::Tag(tag) => return Some(tag),
                Step::Wait => return None,
            }
        }
        None
    }

    fn step(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Start => self.start(),
            State::FirstSize(header_end) => self.first_size(header_end),
            State::Tag => self.tag(),
            State::Payload(header) => self.payload(header),
            State::Behind(ended) => self.behind(ended),
            State::Lost(lost) => self.lost(lost),
            State::Done => Step::Wait,
        }
    }

    fn go(&mut self, state: State, at: u64) -> Step {
        (self.state, self.at) = (state, at);
        Step::On
    }

    fn wait(&mut self, state: State) -> Step {
        self.state = state;
        Step::Wait
    }

    /// Whether `count` bytes from `position` on are there, or never will be.
    fn is_known(&self, position: u64, count: u64) -> bool {
        self.window.end() >= position.saturating_add(count) || self.has_ended()
    }

    /// Whether all bytes of the input are there.
    fn has_ended(&self) -> bool {
        self.length.is_some_and(|length| self.window.end() >= length)
    }

    fn header_at(&self, position: u64) -> Option<TagHeader> {
        self.window.array(position).map(|bytes| TagHeader::parse(&bytes))
    }

    fn start(&mut self) -> Step {
        if !self.is_known(0, SIZE_LEN.saturating_add(TAG_HEADER_LEN as u64))
            && !self.window.starts_with(0, b"F")
        {
            if self.header_at(0).is_some_and(|header| self.is_plausible(&header, 0)) {
                return self.go(State::Tag, 0);
            }
            return self.wait(State::Start);
        }
        // The zero "previous tag size" of a file whose header was cut off.
        let has_size = self.window.starts_with(0, &[0; 4]);
        if has_size && self.header_at(SIZE_LEN).is_some_and(|header| self.is_plausible(&header, SIZE_LEN)) {
            return self.go(State::Tag, SIZE_LEN);
        }
        self.go(State::Tag, 0)
    }

    /// After a file header. Only what is as it should be is believed; else the first tag is searched: the size may be
    /// missing, or have any value.
    fn first_size(&mut self, header_end: u64) -> Step {
        if !self.is_known(header_end, SIZE_LEN) {
            return self.wait(State::FirstSize(header_end));
        }
        let behind = header_end.saturating_add(SIZE_LEN);
        if self.window.starts_with(header_end, &[0; 4]) {
            return self.go(State::Tag, behind);
        }
        if self.length.is_some_and(|length| length <= behind) {
            return Step::On;
        }
        if !self.is_known(header_end, TAG_HEADER_LEN as u64) {
            return self.wait(State::FirstSize(header_end));
        }
        self.lose(header_end, after_signature(header_end))
    }

    fn tag(&mut self) -> Step {
        let at = self.at;
        if self.window.starts_with(at, b"F") {
            if !self.is_known(at, FILE_HEADER_LEN as u64) {
                return self.wait(State::Tag);
            }
            if let Some(step) = self.file_header() {
                return step;
            }
        }
        if !self.is_known(at, TAG_HEADER_LEN as u64) {
            return self.wait(State::Tag);
        }
        let Some(header) = self.header_at(at) else {
            return self.end_in_header();
        };
        let is_known = header.content() != TagContent::Unknown;
        if is_known && header.length > self.max_payload {
            self.problem = Some(Problem::TooLong { position: at, length: header.length });
            return self.lose(at, at.saturating_add(1));
        }
        let is_unlikely = !self.holds && !is_known && header.length > MAX_UNKNOWN.get();
        if !self.fits(&header, at) || header.length > self.max_payload || is_unlikely {
            return self.lose(at, at.saturating_add(1));
        }
        self.search.begin(at.saturating_add(1));
        self.state = State::Payload(header);
        Step::On
    }

    /// The end of the input within a tag's header.
    fn end_in_header(&mut self) -> Step {
        let (at, end) = (self.at, self.window.end());
        match self.window.byte(at) {
            None => {}
            Some(first) if content(first) != TagContent::Unknown => self.truncated_at = Some(at),
            Some(_) => self.leave_out(at, end),
        }
        Step::On
    }

    /// A file header at the present place; `None` if it makes no sense.
    fn file_header(&mut self) -> Option<Step> {
        let at = self.at;
        let bytes = self.window.from(at);
        let parsed =
            FileHeader::parse(bytes.get(..FILE_HEADER_LEN).unwrap_or(bytes)).and_then(|(header, offset)| {
                let is_near = offset <= MAX_DATA_OFFSET.get();
                let fits = self.length.is_none_or(|length| at.saturating_add(offset.into()) <= length);
                if is_near && fits { Ok((header, offset)) } else { Err(HeaderError::Far(offset)) }
            });
        match parsed {
            Ok((header, offset)) => {
                let header_end = at.saturating_add(FILE_HEADER_LEN as u64);
                let size = at.saturating_add(offset.into());
                // Every file that is known has its first tag right behind the header.
                let is_usual = size == header_end;
                if !is_usual && !self.is_known(header_end, TAG_HEADER_LEN as u64) {
                    return Some(self.wait(State::Tag));
                }
                self.header.get_or_insert(header);
                self.first_size = Some(size);
                match is_usual {
                    true => Some(self.go(State::FirstSize(header_end), header_end)),
                    false => Some(self.lose(header_end, after_signature(header_end))),
                }
            }
            Err(error) => {
                self.header_error.get_or_insert((at, error));
                None
            }
        }
    }

    fn payload(&mut self, header: TagHeader) -> Step {
        let end = self.at.saturating_add(header.size().into());
        if !self.fits(&header, self.at) {
            // A stream has ended.
            return self.lose(self.at, self.at.saturating_add(1));
        }
        if !self.holds
            && let Some(start) = self.found_within(&header, end)
        {
            return self.resume(start, Lost::at(self.at));
        }
        if self.window.end() < end {
            return self.wait(State::Payload(header));
        }
        let may_give = !self.holds && self.search.first.is_none() && !self.is_doubtful(&header);
        if may_give && matches!(header.content(), TagContent::Frame(_)) {
            let tag = self.give(self.at, header);
            self.state = State::Behind(Ended { header, end, is_given: true });
            return Step::Tag(tag);
        }
        self.state = State::Behind(Ended { header, end, is_given: false });
        Step::On
    }

    /// The start of a tag that proves that the one at the present place is none: its length is wrong then, and nothing
    /// would come for long. One that looks right is given up only for two.
    fn found_within(&mut self, header: &TagHeader, end: u64) -> Option<u64> {
        self.search_within(end);
        let enough = if self.is_doubtful(header) { 1 } else { 2 };
        self.search.first.filter(|_| self.search.found >= enough)
    }

    fn search_within(&mut self, end: u64) {
        while self.find(end).is_some() {}
    }

    fn behind(&mut self, ended: Ended) -> Step {
        let Ended { header, end, is_given } = ended;
        let is_known = header.content() != TagContent::Unknown;
        let next = end.saturating_add(SIZE_LEN);
        if !self.is_known(end, SIZE_LEN) {
            return self.wait(State::Behind(ended));
        }
        let size = self.window.array(end).map(u32::from_be_bytes);
        if size == Some(header.size()) {
            // What looks unlike its neighbours may have been confirmed by accident.
            if self.is_odd(&header) && !self.is_known(next, TAG_HEADER_LEN as u64) {
                return self.wait(State::Behind(ended));
            }
            if !self.is_odd(&header) || self.may_go_on_at(next) {
                self.sizes.right = self.sizes.right.saturating_add(1);
                return self.accept(ended, next);
            }
        }
        // A tag within this one may end where this one does.
        self.search_within(next);
        if !is_known || self.search.first.is_some_and(|first| first < end) {
            return self.break_at(self.at, None, None);
        }
        if size.is_none() {
            return self.accept(ended, next);
        }
        if self.sizes.may_be_wrong() && !self.is_doubtful(&header) {
            for next in [next, end] {
                match self.goes_on_at(next, next.saturating_sub(end)) {
                    None => return self.wait(State::Behind(ended)),
                    Some(false) => {}
                    Some(true) => {
                        self.sizes.wrong = self.sizes.wrong.saturating_add(1);
                        return self.accept(ended, next);
                    }
                }
            }
        }
        let last = (!is_given).then(|| self.found(self.at, header));
        self.break_at(self.at, last, Some(end))
    }

    /// Whether a row goes on at `position`, which is `gap` bytes behind a tag, though no size says so: with one tag where
    /// that is known to be this writer's habit, else with one that its own size confirms, or a second one as far behind it.
    /// `None` where more bytes are needed.
    fn goes_on_at(&mut self, position: u64, gap: u64) -> Option<bool> {
        if !self.is_known(position, TAG_HEADER_LEN as u64) {
            return None;
        }
        let Some(header) = self.header_at(position) else { return Some(self.window.end() <= position) };
        if !self.may_go_on_at(position) {
            return Some(false);
        }
        if self.sizes.wrong > self.sizes.right || self.window.starts_with(position, b"F") {
            return Some(true);
        }
        let end = position.saturating_add(header.size().into());
        let next = end.saturating_add(SIZE_LEN);
        // Nothing would come for long where the length is none, and another tag is within.
        self.search_within(end);
        if self.search.first.is_some() {
            return Some(false);
        }
        if !self.is_known(next, TAG_HEADER_LEN as u64) {
            return None;
        }
        let size = self.window.array(end).map(u32::from_be_bytes);
        Some(size == Some(header.size()) || self.may_go_on_at(end.saturating_add(gap)))
    }

    /// Whether what is at `position` looks like a tag or a file header, or the input ends there.
    fn may_go_on_at(&self, position: u64) -> bool {
        match self.header_at(position) {
            Some(header) => {
                self.is_likely(&header, position) || self.window.starts_with(position, b"FLV\x01")
            }
            None => self.window.end() <= position,
        }
    }

    /// The tag at the present place is one; the row goes on at `next`.
    fn accept(&mut self, ended: Ended, next: u64) -> Step {
        let (at, header) = (self.at, ended.header);
        self.go(State::Tag, next);
        match header.content() {
            TagContent::Frame(_) if !ended.is_given => Step::Tag(self.give(at, header)),
            TagContent::Encrypted => {
                self.encrypted = self.encrypted.saturating_add(1);
                self.note(&header);
                Step::On
            }
            _ => Step::On,
        }
    }

    fn give(&mut self, at: u64, header: TagHeader) -> FoundTag {
        self.tags = self.tags.saturating_add(1);
        self.note(&header);
        self.found(at, header)
    }

    fn note(&mut self, header: &TagHeader) {
        self.newest = Some((header.timestamp, header.stream_id));
    }

    fn found(&self, at: u64, header: TagHeader) -> FoundTag {
        let body = self.window.from(at.saturating_add(TAG_HEADER_LEN as u64));
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let payload = Bytes::copy_from_slice(body.get(..length).unwrap_or(body));
        FoundTag { position: at, header, payload }
    }

    /// The row breaks at `from`; tags are searched from `search` on.
    fn lose(&mut self, from: u64, search: u64) -> Step {
        let header = self.header_at(from);
        let is_half = header.is_some_and(|header| !self.is_odd(&header) && header.length <= self.max_payload);
        self.search.begin(search);
        self.state = State::Lost(Lost { is_half, ..Lost::at(from) });
        Step::On
    }

    /// The row breaks at a tag within which the search has begun.
    fn break_at(&mut self, from: u64, last: Option<FoundTag>, last_end: Option<u64>) -> Step {
        let lost = Lost { last, last_end, ..Lost::at(from) };
        if let Some(start) = self.search.first {
            return self.resume(start, lost);
        }
        self.state = State::Lost(lost);
        Step::On
    }

    fn lost(&mut self, mut lost: Lost) -> Step {
        if let Some(start) = self.find(u64::MAX) {
            return self.resume(start, lost);
        }
        let end = self.window.end();
        if self.has_ended() {
            // What is only plausible is nothing against a tag that is whole.
            let whole = lost.last_end.filter(|_| lost.last.is_some());
            return match self.search.ends_with(end).filter(|start| whole.is_none_or(|whole| whole <= *start))
            {
                Some(start) => self.resume(start, lost),
                None => self.end_lost(lost, end),
            };
        }
        if end >= lost.tell_at && self.length.is_none() {
            lost.tell_at = lost.tell_at.saturating_add(TELL_AFTER.get());
            let bytes = end.saturating_sub(lost.from);
            self.problem = Some(Problem::NoTag { position: lost.from, bytes });
        }
        self.wait(State::Lost(lost))
    }

    /// The input has ended and no other tag was found.
    fn end_lost(&mut self, lost: Lost, end: u64) -> Step {
        if lost.is_half && self.is_recognised() {
            self.at = lost.from;
            self.truncated_at = Some(lost.from);
        } else {
            self.at = end;
            self.leave_out(lost.last_end.unwrap_or(lost.from), end);
        }
        self.give_last(lost.last)
    }

    /// A tag was found at `start`.
    fn resume(&mut self, start: u64, lost: Lost) -> Step {
        self.go(State::Tag, start);
        match lost.last_end {
            Some(end) if end <= start => {
                self.leave_out(end, start);
                self.give_last(lost.last)
            }
            _ => {
                // A file header longer than usual, with the size behind it.
                let is_announced = self
                    .first_size
                    .take()
                    .is_some_and(|size| (size..=size.saturating_add(SIZE_LEN)).contains(&start));
                if !is_announced {
                    self.leave_out(lost.from, start);
                }
                Step::On
            }
        }
    }

    fn give_last(&mut self, last: Option<FoundTag>) -> Step {
        let Some(tag) = last else { return Step::On };
        if tag.header.content() == TagContent::Encrypted {
            self.encrypted = self.encrypted.saturating_add(1);
            return Step::On;
        }
        self.tags = self.tags.saturating_add(1);
        self.note(&tag.header);
        Step::Tag(tag)
    }

    fn leave_out(&mut self, from: u64, to: u64) {
        self.left_out.add(from, to);
    }

    fn fits(&self, header: &TagHeader, at: u64) -> bool {
        self.length.is_none_or(|length| at.saturating_add(header.size().into()) <= length)
    }

    /// Whether this may be a tag's header, for all that is known of tags here.
    fn is_plausible(&self, header: &TagHeader, at: u64) -> bool {
        !self.is_odd(header) && header.length <= self.max_payload && self.fits(header, at)
    }

    /// Whether this is a tag's header, as far as can be told without what follows.
    fn is_likely(&self, header: &TagHeader, at: u64) -> bool {
        let is_frame = matches!(header.content(), TagContent::Frame(_)) && header.length > 0;
        is_frame
            && self.is_plausible(header, at)
            && !self.is_far_in_time(header)
            && self.may_begin_with(header, at)
    }

    /// Whether the payload's first byte, where it is there, is one that this type has: data begins with a name, in AMF3's
    /// tags behind a zero.
    fn may_begin_with(&self, header: &TagHeader, at: u64) -> bool {
        const SCRIPT: u8 = 18;
        const AMF3_SCRIPT: u8 = 15;
        match (header.tag_type, self.window.byte(at.saturating_add(TAG_HEADER_LEN as u64))) {
            (SCRIPT, Some(first)) => matches!(first, 2 | 12),
            (AMF3_SCRIPT, Some(first)) => matches!(first, 0 | 2 | 6 | 12),
            _ => true,
        }
    }

    /// A type that is none, or a stream id that no other tag has.
    fn is_odd(&self, header: &TagHeader) -> bool {
        let usual = self.newest.map_or(0, |(_, id)| id);
        header.content() == TagContent::Unknown || (header.stream_id != 0 && header.stream_id != usual)
    }

    fn is_doubtful(&self, header: &TagHeader) -> bool {
        self.is_odd(header) || self.is_far_in_time(header)
    }

    fn is_far_in_time(&self, header: &TagHeader) -> bool {
        let step = |(time, _): (u32, u32)| header.timestamp.wrapping_sub(time).cast_signed().unsigned_abs();
        self.newest.map(step).is_some_and(|step| step > DOUBTFUL_STEP_MS)
    }

    /// Searches on up to `limit`: the start of the next tag that is found.
    fn find(&mut self, limit: u64) -> Option<u64> {
        loop {
            let at = self.window.next_candidate(self.search.next, limit)?;
            self.search.next = at;
            let is_within = at.saturating_add(TAG_HEADER_LEN as u64) <= limit;
            let bytes = self.window.array::<TAG_HEADER_LEN>(at).filter(|_| is_within)?;
            self.search.next = at.saturating_add(1);
            if let Some(start) = self.look(at, &bytes) {
                self.search.first.get_or_insert(start);
                self.search.found = self.search.found.saturating_add(1);
                return Some(start);
            }
        }
    }

    /// Looks at eleven bytes, which may be the header of a tag or a file, and whose last four may be the size behind a
    /// tag.
    fn look(&mut self, at: u64, bytes: &[u8; TAG_HEADER_LEN]) -> Option<u64> {
        let [.., a, b, c, d] = *bytes;
        if let Some(start) = self.confirmed(at.saturating_add(7), u32::from_be_bytes([a, b, c, d])) {
            return Some(start);
        }
        if bytes.starts_with(b"FLV\x01") && bytes.get(5..FILE_HEADER_LEN) == Some(&[0, 0, 0, 9]) {
            return Some(at);
        }
        let header = TagHeader::parse(bytes);
        if !self.is_likely(&header, at) {
            return None;
        }
        let end = at.saturating_add(header.size().into());
        self.search.row(at, end.saturating_add(SIZE_LEN)).filter(|start| *start >= self.window.start)
    }

    /// The start of the tag that ends at `end`, if the size behind it is right.
    fn confirmed(&self, end: u64, size: u32) -> Option<u64> {
        let start = end.checked_sub(size.into())?;
        if size < TAG_HEADER_LEN as u32 || start < self.search.from {
            return None;
        }
        let header = self.header_at(start)?;
        let is_it = header.size() == size && header.length <= self.max_payload && !self.is_odd(&header);
        is_it.then_some(start)
    }
}

impl Lost {
    fn at(from: u64) -> Self {
        let tell_at = from.saturating_add(TELL_AFTER.get());
        Self { from, last: None, last_end: None, is_half: false, tell_at }
    }
}

impl Search {
    fn begin(&mut self, from: u64) {
        (self.from, self.next) = (from, from);
        self.rows.clear();
        (self.first, self.found) = (None, 0);
    }

    /// Notes a plausible tag; the start of its row once that is long enough.
    fn row(&mut self, at: u64, next: u64) -> Option<u64> {
        while let Some((expected, _)) = self.rows.first_key_value()
            && *expected < at
        {
            self.rows.pop_first();
        }
        let (start, tags) = self.rows.remove(&at).unwrap_or((at, 0));
        let tags = tags.saturating_add(1);
        if tags >= ROW {
            return Some(start);
        }
        if self.rows.get(&next).is_none_or(|(_, others)| *others < tags) {
            self.rows.insert(next, (start, tags));
        }
        if self.rows.len() > MAX_ROWS.get() {
            // The one that can be told last.
            self.rows.pop_last();
        }
        None
    }

    /// The start of the earliest row whose last tag ends where the input does, with or without the size behind it.
    fn ends_with(&self, end: u64) -> Option<u64> {
        let rows = self.rows.range(end..=end.saturating_add(SIZE_LEN));
        rows.map(|(_, (start, _))| *start).min()
    }
}

/// Where in a file header that ends at `end` a tag may start, if what looks like one is half a header and half a tag.
fn after_signature(end: u64) -> u64 {
    end.saturating_sub(FILE_HEADER_LEN as u64).saturating_add(1)
}

fn content(tag_type: u8) -> TagContent {
    TagHeader { tag_type, length: 0, timestamp: 0, stream_id: 0 }.content()
}

/// The bytes that are still needed.
#[derive(Debug, Default)]
struct Window {
    bytes: Vec<u8>,
    /// How many of them are needed no more.
    used: usize,
    /// Offset in the input of the first that is needed.
    start: u64,
}

impl Window {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.kept().len() as u64)
    }

    fn kept(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// The bytes from `position` on.
    fn from(&self, position: u64) -> &[u8] {
        let skipped = position.checked_sub(self.start).and_then(|count| usize::try_from(count).ok());
        skipped.and_then(|count| self.kept().get(count..)).unwrap_or_default()
    }

    fn array<const N: usize>(&self, position: u64) -> Option<[u8; N]> {
        self.from(position).first_chunk().copied()
    }

    fn byte(&self, position: u64) -> Option<u8> {
        self.from(position).first().copied()
    }

    fn starts_with(&self, position: u64, bytes: &[u8]) -> bool {
        self.from(position).starts_with(bytes)
    }

    /// The first place from `position` on where a header or the size behind a tag may be, before `limit`; where there
    /// is none, the first place whose header is not whole yet.
    fn next_candidate(&self, position: u64, limit: u64) -> Option<u64> {
        let bytes = self.from(position);
        if bytes.is_empty() {
            return None;
        }
        let most = usize::try_from(limit.saturating_sub(position)).unwrap_or(usize::MAX);
        let places = bytes.get(..most).unwrap_or(bytes).windows(TAG_HEADER_LEN);
        let count = places.len();
        let found = places.enumerate().find(|(_, place)| {
            // A size has a small first byte and is no zero; a type has few values.
            let is_size = matches!(place, [.., 0 | 1, b, c, d] if *b | *c | *d != 0);
            is_size || matches!(place, [8 | 9 | 15 | 18 | 40 | 41 | 47 | 50 | b'F', ..])
        });
        let skipped = found.map_or(count, |(index, _)| index);
        Some(position.saturating_add(skipped as u64))
    }

    /// Forgets what lies before `position`.
    fn forget(&mut self, position: u64) {
        let count = position.min(self.end()).saturating_sub(self.start);
        self.start = self.start.saturating_add(count);
        self.used =
            self.used.saturating_add(usize::try_from(count).unwrap_or(usize::MAX)).min(self.bytes.len());
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
        if self.bytes.capacity() > SPARE_CAPACITY.get() && self.kept().len() < self.bytes.capacity() / 8 {
            self.move_down();
            self.bytes.shrink_to(SPARE_CAPACITY.get());
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = self.bytes.capacity().saturating_sub(self.bytes.len());
        if room < bytes.len() {
            // Bytes are moved only where a quarter as much space is won.
            let kept = self.kept().len();
            if self.used >= kept / 4 {
                self.move_down();
            }
            let room = self.bytes.capacity().saturating_sub(self.bytes.len());
            if room < bytes.len() {
                self.bytes.reserve_exact(bytes.len().max(kept / 2));
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn move_down(&mut self) {
        self.bytes.drain(..self.used);
        self.used = 0;
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::testing;

    /// Feeds a stream in pieces; how many tags come out.
    fn feed(finder: &mut TagFinder, bytes: &[u8]) -> usize {
        let mut tags = 0;
        for piece in bytes.chunks(64 * 1024) {
            finder.feed(piece);
            tags += std::iter::from_fn(|| finder.next()).count();
        }
        tags
    }

    fn tag(payload: &[u8]) -> Vec<u8> {
        testing::tag(8, 0, payload, 11 + u32::try_from(payload.len()).unwrap())
    }

    #[test]
    fn of_bytes_that_are_full_of_what_looks_like_tags_few_rows_are_kept() {
        let mut bytes = vec![0xab; 16];
        for length in 0x4000..0x4400_u16 {
            let [high, low] = length.to_be_bytes();
            bytes.extend([8, 0, high, low, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut finder = TagFinder::stream(1 << 20);
        assert_eq!(feed(&mut finder, &bytes), 0);
        assert_eq!(finder.search.rows.len(), MAX_ROWS.stated());
    }

    #[test]
    fn a_file_header_that_leads_far_away_is_none() {
        let mut finder = TagFinder::stream(1 << 20);
        feed(&mut finder, &[b"FLV\x01\x05\x00\x10\x00\x00", &[0xab; 100][..]].concat());
        assert_eq!(finder.header(), None);
        assert_eq!(finder.header_error(), Some((0, HeaderError::Far(0x0010_0000))));
    }

    #[test]
    fn a_long_tag_of_unknown_type_is_not_waited_for() {
        let mut finder = TagFinder::stream(16 << 20);
        feed(&mut finder, &tag(b"\xaf\x01x"));
        // What looks like a tag of type 0xab and 11 MB.
        feed(&mut finder, &vec![0xab; 2 << 20]);
        let problem = finder.take_problem();
        assert!(matches!(problem, Some(Problem::NoTag { position: 18, .. })), "{problem:?}");
    }

    #[test]
    fn memory_of_a_long_tag_is_given_back_after_it() {
        let mut finder = TagFinder::stream(16 << 20);
        assert_eq!(feed(&mut finder, &tag(&vec![0xab; 4 << 20])), 1);
        assert!(finder.capacity() >= 4 << 20);
        for _ in 0..3 {
            assert_eq!(feed(&mut finder, &tag(b"\xaf\x01x")), 1);
        }
        assert!(finder.capacity() <= SPARE_CAPACITY.stated(), "{} bytes", finder.capacity());
    }
}
