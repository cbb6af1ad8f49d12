//! Commands: checked, and packed for the nodes that hold the target.

use holdfast_protocol::command::{self, Audience};
use holdfast_protocol::id::NodeId;
use holdfast_protocol::send::SendOptions;
use holdfast_protocol::subject::{self, Address, Kind as Traffic, SubjectError};
use holdfast_protocol::token;
use holdfast_protocol::wire::{self, Command, CommandItem, Item, Lane, ReceiptAsk, TargetRef};
use smallvec::SmallVec;

use super::Router;
use super::event::{Now, Request};
use super::receipts::Opening;
use super::route::Job;
use super::table::Slot;
use super::tally::{Kind, Routed};

/// A bound on an encoded command: the longest is a `jti` or a close reason with a device, and one target.
const COMMAND_BYTES_MAX: usize = 1_024;

impl Router {
    pub(super) fn on_ctl(&mut self, now: Now, request: Request<'_>) {
        if !self.may_handle(now) {
            return;
        }
        if self.handover.is_step(Lane::Ctl, request.subject) {
            return self.on_step(now, Lane::Ctl, request.payload);
        }
        match self.settings.subjects.parse_address(Traffic::Ctl, request.subject) {
            Ok((Address::One(target), partition)) => {
                let partition = partition.unwrap_or_else(|| subject::partition_of_target(&target));
                let Some(job) = self.job(now, Lane::Ctl, partition, Kind::Command, &request) else { return };
                let mut slots = Vec::new();
                let reference = self.nodes_of(&target, &mut slots);
                self.command(now, &job, &request, Audience::Connections, reference.as_slice(), &slots);
            }
            Ok((Address::Node(node), partition)) => {
                let partition = partition.unwrap_or_else(|| token::partition_of_key(node.as_str()));
                self.command_node(now, partition, Some(node), &request);
            }
            Ok((Address::Many, _)) => {}
            Err(error) => match self.stranger(&request) {
                // A valid token that is no id of ours is a node that does not exist.
                Some(partition) if error == SubjectError::Unknown => {
                    self.command_node(now, partition, None, &request);
                }
                _ => self.refuse_subject(now, Lane::Ctl, Kind::Command, &request, error),
            },
        }
    }

    fn stranger(&self, request: &Request<'_>) -> Option<usize> {
        let key = self.settings.subjects.strip(request.subject, "ctl")?.strip_prefix("node.")?;
        token::decode(key).ok().map(|_| token::partition_of_token(key))
    }

    fn command_node(&mut self, now: Now, partition: usize, node: Option<NodeId>, request: &Request<'_>) {
        let Some(job) = self.job(now, Lane::Ctl, partition, Kind::Command, request) else { return };
        let slots: SmallVec<[Slot; 1]> = node.and_then(|node| self.fleet.slot(node)).into_iter().collect();
        self.command(now, &job, request, Audience::Node, &[], &slots);
    }

    fn command(
        &mut self,
        now: Now,
        job: &Job<'_>,
        request: &Request<'_>,
        audience: Audience,
        targets: &[TargetRef<'_>],
        slots: &[Slot],
    ) {
        let options = match SendOptions::parse(request.headers).and_then(|options| {
            options.check_command()?;
            Ok(options)
        }) {
            Ok(options) => options,
            Err(error) => return self.refuse_header(job, &error),
        };
        let command = match command::parse(request.payload, audience) {
            Ok(command) => command,
            Err(error) => {
                self.tally.route(job.kind, Routed::Refused);
                return self.refuse(job.reply, 400, error.to_string());
            }
        };
        let id = self.take_id(options.id);
        if slots.is_empty() {
            self.answer_offline(job, &id);
        } else {
            self.tally.route(job.kind, Routed::Forwarded);
            let number = job.reply.map(|_| self.next_number());
            let timeout_ms = options.receipt_timeout_ms();
            // Nobody acknowledges a command.
            let receipt = number.map(|number| ReceiptAsk { number, acked: false, timeout_ms });
            self.pack_command(targets, slots, command, receipt);
            if let (Some(number), Some(reply)) = (number, job.reply) {
                let nodes = slots.iter().copied().collect();
                let opening = Opening { reply, id: &id, acked: false, due_ms: now.ms + timeout_ms, nodes };
                self.open_receipt(number, opening);
            }
        }
        self.scratch.id = id;
    }

    fn pack_command(
        &mut self,
        targets: &[TargetRef<'_>],
        slots: &[Slot],
        command: Command,
        receipt: Option<ReceiptAsk>,
    ) {
        let targets = targets
            .iter()
            .map(|target| match target {
                TargetRef::User(key) => wire::Target::User((*key).into()),
                TargetRef::Room(key) => wire::Target::Room((*key).into()),
                TargetRef::Connection(id) => wire::Target::Connection(*id),
                TargetRef::All => wire::Target::All,
            })
            .collect();
        let item = Item::Command(CommandItem { targets, command, receipt });
        let term = self.membership.term();
        for slot in slots {
            self.fleet.pack(*slot, COMMAND_BYTES_MAX, term, &mut self.actions, |packet| packet.push(&item));
        }
    }
}
