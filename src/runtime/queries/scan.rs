//! Scans: partition after partition, in each by the keys' bytes, a page at a time.
//!
//! Merging the partitions into one order would need a page of each in memory for every page that is given; so the order is
//! partition, then key, and each entry says its partition. A page is one snapshot of each partition that it has entries of.

use axum::http::HeaderValue;

use super::Queries;
use super::answer::{Refusal, Row, Rows};
use super::places::{Place, nobody_has};
use super::request::{Cursor, Request};
use super::token::Token;
use crate::position::Partition;
use crate::store::{View, Wanted, after_prefix};
use crate::topology::StoreDeclaration;

/// Bytes of keys and values in one page; the first entry always fits.
const MAX_PAGE_BYTES: usize = 1 << 20;

impl Queries {
    /// A page of entries.
    pub(super) async fn page(
        &self,
        store: &StoreDeclaration,
        request: &Request,
        token: Option<&HeaderValue>,
    ) -> Result<Rows, Refusal> {
        let places = self.places(store, request)?;
        let name = &store.spec.name;
        if let Some(refusal) = self.redirected(&places, request, name) {
            return Err(refusal);
        }
        let begin = match &request.next {
            None => 0,
            Some(next) => places.iter().position(|(partition, _)| *partition == next.partition).ok_or_else(|| {
                Refusal::Bad("next: is of a partition that is not asked; give the same parameters as before".to_owned())
            })?,
        };
        let mut page =
            Rows { store: name.clone(), entries: Vec::new(), partitions: Vec::new(), token: String::new(), next: None };
        let (mut reached, mut bytes) = (Token::default(), 0);
        for (at, (partition, place)) in places.iter().enumerate().skip(begin) {
            let left = request.limit.saturating_sub(page.entries.len());
            if left == 0 || bytes >= MAX_PAGE_BYTES {
                page.next = Some(Cursor { partition: *partition, after: None }.to_string());
                break;
            }
            let after = request.next.as_ref().filter(|_| at == begin).and_then(|next| next.after.as_deref());
            let part = self.page_of(store, *partition, place, request, left, after, token).await?;
            reached.merge(&Token::parse(&part.token).unwrap_or_default());
            bytes += part.entries.iter().map(|row| row.key.get().len() + row.value.get().len()).sum::<usize>();
            page.entries.extend(part.entries);
            page.partitions.extend(part.partitions);
            if part.next.is_some() {
                page.next = part.next;
                break;
            }
        }
        page.token = reached.to_string();
        Ok(page)
    }

    #[expect(clippy::too_many_arguments, reason = "a part of a scan has as many sides")]
    async fn page_of(
        &self,
        store: &StoreDeclaration,
        partition: Partition,
        place: &Place,
        request: &Request,
        limit: usize,
        after: Option<&[u8]>,
        token: Option<&HeaderValue>,
    ) -> Result<Rows, Refusal> {
        match place {
            Place::Nowhere => Err(nobody_has(store, partition)),
            Place::There(address) => {
                let path = request.for_peer(&store.spec.name, partition, limit, after);
                self.0.peers.ask(address, &path, request, token).await
            }
            Place::Here => self.page_here(store, partition, request, limit, after).await,
        }
    }

    async fn page_here(
        &self,
        store: &StoreDeclaration,
        partition: Partition,
        request: &Request,
        limit: usize,
        after: Option<&[u8]>,
    ) -> Result<Rows, Refusal> {
        let (name, wanted, after) = (store.spec.name.clone(), request.clone(), after.map(<[u8]>::to_vec));
        let read = move |view: &View| {
            let end = wanted.prefix.as_deref().and_then(after_prefix);
            let bounds = wanted.bounds(after.as_deref(), end.as_deref());
            let asked = Wanted { bounds, reverse: wanted.reverse, limit, max_bytes: MAX_PAGE_BYTES };
            let page = view.scan(&name, &asked)?;
            Ok(((page.entries, page.more), page.positions))
        };
        let ((found, more), reached) = self.read_here(store, partition, request, read).await?;
        let last = found.last().filter(|_| more).map(|(key, _)| key.clone());
        let mut entries = Vec::with_capacity(found.len());
        for (key, value) in found {
            let (key, value) = (self.show(&store.key, &key).await?, self.show(&store.value, &value).await?);
            entries.push(Row { key, value, partition: partition.0 });
        }
        Ok(Rows {
            store: store.spec.name.clone(),
            entries,
            partitions: vec![self.part(store, partition, &reached)],
            token: reached.to_string(),
            next: last.map(|key| Cursor { partition, after: Some(key) }.to_string()),
        })
    }
}
