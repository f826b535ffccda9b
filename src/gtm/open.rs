//! Transactions that a GTM holds open: those that nobody has any more are closed, and those that are prepared stay open when it
//! starts anew.

use super::{
    Gtm,
    wire::{Open, Session, odd},
};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// A transaction that is prepared: it outlives its session, and a GTM that forgot it would have servers take its rows for
/// those of one that was rolled back (`TransactionIdIsInProgress` in XC's procarray.c), for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared(Open);

impl Gtm<'_> {
    /// Has it hold these GXIDs open no longer; whether their transactions were committed is a matter of the nodes that have
    /// them. GXIDs that it does not hold open any more are passed over. Gives those that it holds all the same.
    ///
    /// A standby of 1.0 that starts copies what is open to places of its own, and keeps the number of the GTM's place with each
    /// (`gtm_standby_restore_gxid` in gtm_standby.c). A GTM ends what is in the place of that number (`GTM_GXIDToHandle` in
    /// gtm_txn.c): promoted by hand, it cannot close such a copy, and would end another transaction instead.
    ///
    /// # Errors
    /// When nothing answers, or not in the GTM's protocol.
    pub async fn close(&self, gxids: &BTreeSet<u32>) -> Result<BTreeSet<u32>> {
        let closed = self.ask(async |session| session.close(gxids).await);
        closed.await.map_err(|error| error.context("GXIDs that nobody has stay open at the GTM"))
    }

    /// What it holds open that is prepared. A standby does not tell.
    ///
    /// # Errors
    /// When nothing answers, or not in the GTM's protocol.
    pub async fn prepared(&self) -> Result<Vec<Prepared>> {
        let open = self.ask(async |session| session.open().await).await?;
        Ok(open.into_iter().filter(|open| open.is_prepared).map(Prepared).collect())
    }

    /// Has one that has just started, and that nobody uses yet, hold these open.
    ///
    /// # Errors
    /// When it does not answer, or does not hold them.
    pub async fn hold(&self, prepared: &[Prepared]) -> Result<()> {
        let held = self.ask(async |session| session.hold(prepared).await);
        held.await
            .map_err(|error| error.context(format!("{} prepared transactions are not open at the GTM", prepared.len())))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn close(&mut self, gxids: &BTreeSet<u32>) -> io::Result<BTreeSet<u32>> {
        let all = self.open().await?;
        for open in all.iter().filter(|open| gxids.contains(&open.gxid)) {
            // Of two with one number at least one lies elsewhere.
            if all.iter().filter(|other| other.number == open.number).count() == 1 {
                self.roll_back(open.gxid).await?;
            }
        }
        let left = self.open().await?.into_iter().map(|open| open.gxid);
        Ok(left.filter(|gxid| gxids.contains(gxid)).collect())
    }

    async fn hold(&mut self, prepared: &[Prepared]) -> io::Result<()> {
        for (place, Prepared(open)) in (0..).zip(prepared) {
            self.gave_out(open.gxid, place).await?;
            if !open.name.is_empty() {
                self.prepares(open.gxid, &open.name, &open.nodes).await?;
            }
            self.prepared(open.gxid).await?;
        }
        let open = self.open().await?;
        let held = |gxid: u32| open.iter().any(|open| open.gxid == gxid && open.is_prepared);
        match prepared.iter().find(|prepared| !held(prepared.0.gxid)) {
            Some(Prepared(open)) => Err(odd(&format!("it does not hold {}", open.gxid))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// What a GTM holds open, by place.
    #[derive(Default)]
    struct Held(std::collections::BTreeMap<u32, Open>);

    impl Held {
        fn new(open: &[(u32, Open)]) -> Held {
            Held(open.iter().cloned().collect())
        }

        /// Serves one session, and gives what is open after it.
        async fn serve(mut self, mut socket: DuplexStream) -> Vec<Open> {
            while let Ok(b'C') = socket.read_u8().await {
                let mut content = vec![0; socket.read_u32().await.expect("a length") as usize - 4];
                socket.read_exact(&mut content).await.expect("a message");
                let (message, rest) = content.split_first_chunk().expect("a number");
                let answer = match u32::from_be_bytes(*message) {
                    16 => self.begin(rest),
                    18 => self.prepares(rest),
                    26 => self.prepared(rest),
                    27 => Some(self.roll_back(rest)),
                    35 => Some(self.list()),
                    other => panic!("message {other}"),
                };
                let Some(body) = answer else { continue };
                socket.write_u8(b'S').await.expect("a client");
                socket.write_u32(body.len() as u32 + 4).await.expect("a client");
                socket.write_all(&body).await.expect("a client");
            }
            self.0.into_values().collect()
        }

        fn begin(&mut self, message: &[u8]) -> Option<Vec<u8>> {
            let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().expect("a number"));
            assert_eq!((number(0), message.len()), (1, 19), "one transaction");
            let open = Open { gxid: number(8), number: number(4), ..Open::default() };
            assert!(self.0.insert(open.number, open).is_none(), "it is in use");
            None
        }

        fn named(&mut self, message: &[u8]) -> &mut Open {
            assert_eq!(message[0], 1, "it is named by its GXID");
            let gxid = u32::from_le_bytes(message[1..5].try_into().expect("a number"));
            let number = self.0.values().find(|open| open.gxid == gxid).expect("it is open").number;
            self.0.get_mut(&number).expect("it is where its number says")
        }

        fn prepares(&mut self, message: &[u8]) -> Option<Vec<u8>> {
            let (mut texts, mut rest) = (Vec::new(), &message[5..]);
            while let Some((length, after)) = rest.split_first_chunk() {
                let (text, after) = after.split_at(u32::from_be_bytes(*length) as usize);
                texts.push(text.to_vec());
                rest = after;
            }
            let open = self.named(message);
            [open.name, open.nodes] = texts.try_into().expect("two texts");
            None
        }

        fn prepared(&mut self, message: &[u8]) -> Option<Vec<u8>> {
            self.named(message).is_prepared = true;
            None
        }

        fn roll_back(&mut self, message: &[u8]) -> Vec<u8> {
            let gxid = u32::from_le_bytes(message[1..5].try_into().expect("a number"));
            let number = self.0.values().find(|open| open.gxid == gxid).map(|open| open.number);
            let ended = number.and_then(|number| self.0.remove(&number));
            let status = if ended.is_some() { 0 } else { -1i32 };
            [16u32.to_be_bytes(), gxid.to_le_bytes(), status.to_be_bytes()].concat()
        }

        fn list(&self) -> Vec<u8> {
            let mut list = [[0; 44].as_slice(), &(self.0.len() as u32).to_le_bytes()].concat();
            for open in self.0.values() {
                let state = if open.is_prepared { 3u32 } else { 0 };
                let text = |text: &[u8]| [&(text.len() as u32).to_le_bytes(), text].concat();
                let record = [
                    &open.number.to_le_bytes()[..],
                    &[0; 9],
                    &open.gxid.to_le_bytes(),
                    &state.to_le_bytes(),
                    &text(b"coordinate_1"),
                    &[0; 11],
                    &text(&open.nodes),
                    &text(&open.name),
                    &[0; 18],
                ];
                let record = record.concat();
                list.extend_from_slice(&(record.len() as u64).to_le_bytes());
                list.extend(record);
            }
            [&21u32.to_be_bytes(), &(list.len() as u32).to_be_bytes(), &list[..]].concat()
        }
    }

    fn open(gxid: u32, place: u32, number: u32) -> (u32, Open) {
        (place, Open { gxid, number, ..Open::default() })
    }

    /// What this gives, and what is open afterwards.
    async fn after<T>(gtm: Held, questions: impl AsyncFnOnce(&mut Session<DuplexStream>) -> T) -> (T, Vec<Open>) {
        let (socket, other) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(gtm.serve(other));
        let mut session = Session { socket };
        let given = questions(&mut session).await;
        drop(session);
        (given, served.await.expect("it served"))
    }

    #[tokio::test]
    async fn a_gxid_is_closed_unless_another_one_would_be() {
        let all = [open(101, 0, 800), open(102, 1, 3), open(200, 3, 3), open(201, 900, 900)];
        for (gxids, stays, left) in [
            (vec![201, 77], vec![], vec![101, 102, 200]),
            // A copy that no number leads to.
            (vec![101], vec![101], vec![101, 102, 200, 201]),
            // By its number the GTM would end 200.
            (vec![102], vec![102], vec![101, 102, 200, 201]),
        ] {
            let gxids: BTreeSet<u32> = gxids.into_iter().collect();
            let (closed, after) = after(Held::new(&all), async |session| session.close(&gxids).await).await;
            assert_eq!(closed.expect("it answers").into_iter().collect::<Vec<_>>(), stays);
            assert_eq!(after.iter().map(|open| open.gxid).collect::<Vec<_>>(), left, "{gxids:?}");
        }
    }

    #[tokio::test]
    async fn what_is_prepared_is_held_where_it_is_found_again() {
        let of_2pc = Open { gxid: 300, number: 17, is_prepared: true, ..Open::default() };
        let of_a_user = Open {
            gxid: 301,
            number: 800,
            is_prepared: true,
            name: b"mine".to_vec(),
            nodes: b"datanode_1,datanode_2".to_vec(),
        };
        let before = Held::new(&[(0, of_a_user.clone()), (17, of_2pc.clone()), open(302, 18, 18)]);
        let (all, _) = after(before, async |session| session.open().await).await;
        let prepared: Vec<Prepared> =
            all.expect("it answers").into_iter().filter(|open| open.is_prepared).map(Prepared).collect();
        assert_eq!(prepared, [Prepared(of_a_user.clone()), Prepared(of_2pc.clone())]);
        let (held, after) = after(Held::default(), async |session| session.hold(&prepared).await).await;
        held.expect("it holds them");
        assert_eq!(after, [Open { number: 0, ..of_a_user }, Open { number: 1, ..of_2pc }]);
    }
}
