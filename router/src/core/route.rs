//! Sends: from a domain service's message to items in the packets of the right nodes.

use holdfast_protocol::content;
use holdfast_protocol::send::{HeaderError, ReceiptMode, SendOptions, parse_targets};
use holdfast_protocol::subject::{self, Address, Kind as Traffic, SubjectError, Target};
use holdfast_protocol::token;
use holdfast_protocol::wire::{DeliveryRef, Lane, ReceiptAsk, TargetRef};
use smallvec::SmallVec;

use super::Router;
use super::event::{Now, Request};
use super::receipts::{self, Opening};
use super::table::Slot;
use super::tally::{Dropped, Kind, Routed};

/// A bound on what a target adds to its key when encoded, and on a connection.
const TARGET_BYTES_MAX: usize = 32;

/// Whom a message is for on the nodes, and which nodes those are.
struct Aim<'a> {
    targets: Vec<TargetRef<'a>>,
    /// Node and target, ordered by node.
    pairs: Vec<(Slot, usize)>,
}

/// What one message is about, once its subject and ownership are clear.
pub(super) struct Job<'a> {
    pub(super) kind: Kind,
    /// Who awaits an answer from this router.
    pub(super) reply: Option<&'a str>,
}

impl Router {
    pub(super) fn on_send(&mut self, now: Now, lane: Lane, request: Request<'_>) {
        if !self.may_handle(now) {
            return;
        }
        if self.handover.is_step(lane, request.subject) {
            return self.on_step(now, lane, request.payload);
        }
        match self.settings.subjects.parse_address(Traffic::Send, request.subject) {
            Ok((Address::One(target), partition)) => {
                let partition = partition.unwrap_or_else(|| subject::partition_of_target(&target));
                let Some(job) = self.job(now, lane, partition, kind_of(&target), &request) else { return };
                match SendOptions::parse(request.headers) {
                    Ok(options) => self.send_one(now, &job, &target, &options, &request),
                    Err(error) => self.refuse_header(&job, &error),
                }
            }
            Ok((Address::Many, _)) => self.send_many(now, &request),
            // Sends know no nodes: the subject is refused before this.
            Ok((Address::Node(_), _)) => {}
            Err(error) => self.refuse_subject(now, lane, Kind::User, &request, error),
        }
    }

    /// A send that NATS has mapped to our section. One that belongs to another is heard by no router of that one.
    pub(super) fn on_section_send(&mut self, now: Now, request: Request<'_>) {
        let (sections, token) = (self.settings.sections, request.subject.rsplit('.').next().unwrap_or_default());
        let is_step = self.handover.is_step(Lane::Section, request.subject);
        if !is_step && sections.of_partition(token::partition_of_token(token)) != sections.of_router(self.me) {
            self.tally.drop(Dropped::OtherSection, 1);
            return;
        }
        self.on_send(now, Lane::Section, request);
    }

    /// Whether messages are handled at all. What comes while they are not is dropped and counted.
    pub(super) fn may_handle(&mut self, now: Now) -> bool {
        self.listen_for_ourselves(now);
        let able = self.is_able(now);
        if !able {
            self.tally.drop(Dropped::NotLive, 1);
        }
        able
    }

    /// Takes a message up if its partition is ours.
    pub(super) fn job<'a>(
        &mut self,
        now: Now,
        lane: Lane,
        partition: usize,
        kind: Kind,
        request: &Request<'a>,
    ) -> Option<Job<'a>> {
        self.is_for_us(now, lane, partition, request).then_some(Job { kind, reply: request.reply })
    }

    pub(super) fn refuse_header(&mut self, job: &Job<'_>, error: &HeaderError) {
        self.tally.route(job.kind, Routed::Refused);
        self.refuse(job.reply, 400, error.to_string());
    }

    /// Refuses a subject that names nothing: its owner is found by the subject itself.
    pub(super) fn refuse_subject(
        &mut self,
        now: Now,
        lane: Lane,
        kind: Kind,
        request: &Request<'_>,
        error: SubjectError,
    ) {
        let owned_by = match lane {
            Lane::Send | Lane::Ctl => request.subject,
            // NATS has mapped it by its last token: only the routers of that section hear it.
            Lane::Section => request.subject.rsplit('.').next().unwrap_or_default(),
        };
        let partition = token::partition_of_token(owned_by);
        let Some(job) = self.job(now, lane, partition, kind, request) else { return };
        self.tally.route(kind, Routed::Refused);
        let code = match error {
            SubjectError::Unknown => 404,
            SubjectError::Token(_) => 400,
        };
        let text = match error {
            SubjectError::Unknown => error.to_string(),
            SubjectError::Token(cause) => format!("{error}: {cause}"),
        };
        self.refuse(job.reply, code, text);
    }

    fn send_one(&mut self, now: Now, job: &Job<'_>, target: &Target, options: &SendOptions<'_>, request: &Request<'_>) {
        let mut slots = std::mem::take(&mut self.scratch.slots);
        let reference = self.nodes_of(target, &mut slots);
        let pairs = slots.iter().map(|slot| (*slot, 0)).collect::<SmallVec<[_; 8]>>();
        self.scratch.slots = slots;
        let targets = [reference.unwrap_or(TargetRef::All)];
        self.send_to(now, job, &targets, &pairs, options, request);
    }

    fn send_many(&mut self, now: Now, request: &Request<'_>) {
        let options = SendOptions::parse(request.headers);
        let targets = match &options {
            Ok(options) => parse_targets(options.to),
            Err(error) => Err(*error),
        };
        // What names no first target is owned by what it is called.
        let partition = match &targets {
            Ok(targets) => targets.first().map(subject::partition_of_target),
            Err(_) => None,
        };
        let partition = partition.unwrap_or_else(|| token::partition_of_token("many"));
        let Some(job) = self.job(now, Lane::Send, partition, Kind::Many, request) else { return };
        match (options, targets) {
            (Ok(options), Ok(targets)) => {
                let aim = self.aim(&targets);
                self.send_to(now, &job, &aim.targets, &aim.pairs, &options, request);
            }
            (Err(error), _) | (_, Err(error)) => self.refuse_header(&job, &error),
        }
    }

    fn aim<'a>(&self, targets: &'a [Target]) -> Aim<'a> {
        let mut aim = Aim { targets: Vec::with_capacity(targets.len()), pairs: Vec::new() };
        let mut slots = Vec::new();
        for target in targets {
            if let Some(reference) = self.nodes_of(target, &mut slots) {
                let index = aim.targets.len();
                aim.targets.push(reference);
                aim.pairs.extend(slots.iter().map(|slot| (*slot, index)));
            }
        }
        aim.pairs.sort_unstable();
        aim
    }

    /// The nodes a target is on by the mirror; `None` where the target can be nowhere.
    pub(super) fn nodes_of<'a>(&self, target: &'a Target, slots: &mut Vec<Slot>) -> Option<TargetRef<'a>> {
        slots.clear();
        Some(match target {
            Target::User(user) => {
                slots.extend_from_slice(self.table.nodes_of_user(token::partition_of_key(user), user));
                TargetRef::User(user)
            }
            Target::Room(room) => {
                let nodes = self.table.nodes_of_room(token::partition_of_key(room), room);
                slots.extend(nodes.iter().map(|(slot, _)| *slot));
                TargetRef::Room(room)
            }
            Target::Connection(_) => {
                let connection = target.connection()?;
                slots.extend(self.fleet.slot(connection.node()));
                TargetRef::Connection(connection)
            }
            Target::All => {
                slots.extend(self.fleet.iter().map(|(slot, _)| slot));
                TargetRef::All
            }
        })
    }

    /// Packs one delivery for each node, or answers that nobody is there.
    fn send_to(
        &mut self,
        now: Now,
        job: &Job<'_>,
        targets: &[TargetRef<'_>],
        pairs: &[(Slot, usize)],
        options: &SendOptions<'_>,
        request: &Request<'_>,
    ) {
        let id = self.take_id(options.id);
        if pairs.is_empty() {
            self.answer_offline(job, &id);
            self.scratch.id = id;
            return;
        }
        let acked = options.receipt == ReceiptMode::Acked;
        let timeout_ms = options.receipt_timeout_ms();
        let number = job.reply.map(|_| self.next_number());
        let mut body = std::mem::take(&mut self.scratch.body);
        body.clear();
        DeliveryRef {
            id: &id,
            event: options.event,
            content: content::detect(options.content_type, request.payload),
            payload: request.payload,
            received_ms: now.unix_ms,
            expires_ms: options.ttl_ms.map(|ttl| now.unix_ms.saturating_add(ttl)),
            key: options.key,
            destination: options.destination,
            only: &options.only,
            except_connections: &options.except_connections,
            except_users: &options.except_users,
            receipt: number.map(|number| ReceiptAsk { number, acked, timeout_ms }),
            trace: options.trace,
            kept: None,
        }
        .encode_into(&mut body);
        let groups = || pairs.chunk_by(|a, b| a.0 == b.0);
        let bytes_of = |group: &[(Slot, usize)]| {
            let targets: usize = group.iter().map(|(_, index)| bytes_of_target(targets[*index])).sum();
            body.len() + targets + TARGET_BYTES_MAX
        };
        if groups().any(|group| bytes_of(group) > self.fleet.items_bytes_max()) {
            self.refuse_size(job);
        } else {
            self.tally.route(job.kind, Routed::Forwarded);
            let term = self.membership.term();
            for group in groups() {
                let bytes = bytes_of(group);
                self.fleet.pack(group[0].0, bytes, term, &mut self.actions, |packet| {
                    packet.push_delivery(group.iter().map(|(_, index)| targets[*index]), &body);
                });
            }
            if let (Some(number), Some(reply)) = (number, job.reply) {
                let nodes = groups().map(|group| group[0].0).collect();
                let opening = Opening { reply, id: &id, acked, due_ms: now.ms + timeout_ms, nodes };
                self.open_receipt(number, opening);
            }
        }
        self.scratch.body = body;
        self.scratch.id = id;
    }

    pub(super) fn refuse_size(&mut self, job: &Job<'_>) {
        self.tally.route(job.kind, Routed::TooLarge);
        self.refuse(job.reply, 413, "too large for a message to a node".to_owned());
    }

    pub(super) fn open_receipt(&mut self, number: u64, opening: Opening<'_>) {
        if let Some(closed) = self.receipts.open(number, opening, &mut self.actions) {
            self.tally.drop(Dropped::ReceiptEarly, 1);
            self.count_receipt(closed);
        }
    }

    pub(super) fn answer_offline(&mut self, job: &Job<'_>, id: &str) {
        self.tally.route(job.kind, Routed::Offline);
        self.answer_nobody(job, id);
    }

    /// The answer where nobody is there, the message being counted already.
    pub(super) fn answer_nobody(&mut self, job: &Job<'_>, id: &str) {
        if let Some(reply) = job.reply {
            self.tally.receipts_complete += 1;
            self.actions.push(receipts::answer(reply, &receipts::offline(id)));
        }
    }

    /// The message's id, in the scratch string: to be put back.
    pub(super) fn take_id(&mut self, given: Option<&str>) -> String {
        let mut id = std::mem::take(&mut self.scratch.id);
        id.clear();
        match given {
            Some(given) => id.push_str(given),
            None => {
                self.made += 1;
                id.push_str(self.me.as_str());
                id.push('-');
                push_hex(&mut id, self.made);
            }
        }
        id
    }
}

fn push_hex(text: &mut String, value: u64) {
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        let nibble = u32::try_from(value >> (4 * at) & 0xF).unwrap_or(0);
        text.push(char::from_digit(nibble, 16).unwrap_or('0'));
    }
}

pub(super) const fn bytes_of_target(target: TargetRef<'_>) -> usize {
    match target {
        TargetRef::User(key) | TargetRef::Room(key) => key.len() + TARGET_BYTES_MAX,
        TargetRef::Connection(_) | TargetRef::All => TARGET_BYTES_MAX,
    }
}

const fn kind_of(target: &Target) -> Kind {
    match target {
        Target::User(_) => Kind::User,
        Target::Room(_) => Kind::Room,
        Target::Connection(_) => Kind::Connection,
        Target::All => Kind::All,
    }
}
