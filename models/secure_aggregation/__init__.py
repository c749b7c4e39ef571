"""Secure aggregation: a server adds up vectors that it cannot read, and nodes need not trust it.

It is the double masking of Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving machine
learning", with the consistency check of its figure 4. Beyond 128 nodes it uses the sparse graph of Bell et
al. 2020, "Secure single-server aggregation with (poly)logarithmic overhead" (SecAgg+, algorithms 2 and 3).

    stage       a node sends                                      after checking
    advertise   two X25519 keys, a commitment, its signature      –
    share       encrypted shares of its two secrets               every signature, roster, floors
    mask        its vector plus masks, a signature of U2          that enough nodes shared (U2)
    confirm     a signature of the lists U2 and U3                that all of U3 masked under this U2
    unmask      a share per neighbour, of its seed or mask key    that enough nodes signed the same lists

U2 is the nodes that sent shares, and U3 those that sent a masked vector; the sum is over U3. A node's vector
carries one mask for each neighbour in U2, which cancels in the sum, and one mask of its own. For a node in
U3, the server gets shares of the seed of that node's own mask. For a node in U2 but not in U3, it gets shares
of the mask key, so that it can remove the masks with that node's neighbours. It never gets both for one node,
because the two together would reveal its vector.

Why it never gets both. One pair of lists (U2, U3) needs T signatures, T = ⌊fraction·n⌋ + 1 of the n adverts.
An honest node signs once per session. If two different pairs were confirmed, and c nodes colluded with the
server, then 2(T − c) ≤ n − c. So with 2T > n + c, at most one pair of lists is confirmed (the condition of
Bonawitz et al., theorem 6.5, which has one threshold for both our T and our t). Honest holders then give
shares of only one kind for each node, and of the other kind the server has at most the c shares of colluding
nodes. That is too few if c < t, the share threshold, which may be n/2 or less: it is T that keeps honest
holders to one pair of lists, and t only has to exceed the number of colluding nodes. So c < 2T − n and c < t.

The lists are tied to the view, which is a digest of the task and of all adverts. The view salts every key, so
nodes that were shown different adverts cannot read each other's shares: each view is a separate session.

An addition to figure 4: a masked vector comes with a signature of the U2 under which it was masked, and a
node confirms U3 only if every node in it masked under the U2 that it was shown itself. Otherwise a server
could show one node a short U2, so that it masks with few neighbours, and let the others confirm the full one.

How much noise a sum holds. A colluding node knows its own vector, including the noise, and can subtract it
from the sum. So a node counts the devices in a sum without those of the c nodes that have the most (`honest`
in thresholds.py): no set of c colluding nodes can remove more.

What the caller must do. Save a session before its answer leaves. Put a vector into one session only: if two
sums are over different nodes, their difference shows the vectors of the nodes in only one of them. Count each
device once in the vectors, and leave room: the sum must stay within the width.

What is assumed. The server may lie, drop and replay messages, and show each node something different. It
chooses which nodes it lists and which it later declares dropped. The roster is honest: it belongs to the
devices' owner, lists no invented nodes, and says how many devices each node may stand for. At most c of the
listed nodes collude with the server (`tolerated` in thresholds.py). A participant can always spoil a sum with
a wrong vector; that costs the round, but nobody's privacy.
"""
