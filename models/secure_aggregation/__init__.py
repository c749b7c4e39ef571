"""Secure aggregation: a server adds up vectors that it cannot read, and nodes need not trust it.

The double masking of Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving machine
learning", with the consistency check of its figure 4; beyond 128 nodes on the sparse graph of Bell et al.
2020, "Secure single-server aggregation with (poly)logarithmic overhead" (SecAgg+, algorithms 2 and 3).

    stage       a node answers with                                   and has checked
    advertise   two X25519 keys, a commitment, its signature          –
    share       its two secrets in encrypted shares                   every signature, roster, floors
    mask        its vector plus masks, a signature of U2              enough nodes shared (U2)
    confirm     a signature of the lists U2 and U3                    everyone in U3 masked under this U2
    unmask      one share a neighbour: of the seed, or of the key     enough nodes signed the same lists

U2 shared, U3 sent a masked vector; the sum is over U3. A node's vector carries a mask for each neighbour in
U2, which cancels in the sum, and one mask of its own. Of a node in U3 the server is given the seed of its own
mask; of a node in U2 but not in U3 its key, so that the masks with its neighbours come off. Of no node both:
the two would bare its vector.

Why never both. T signatures of one (U2, U3) are needed, T = ⌊fraction·n⌋ + 1 of the n adverts. An honest node
signs once a session. Were two different lists confirmed, and c nodes colluded with the server, then
2(T − c) ≤ n − c; so with 2T > n + c at most one pair of lists is confirmed (the condition of Bonawitz et al.,
theorem 6.5, whose one threshold is both our T and our t). Honest holders then give shares of one kind only of
each node, and of the other kind the server has at most the c shares of those that collude. That is too few if
c < t, the share threshold, which may be n/2 or less: it is T that keeps honest holders to one list, and t has
only to exceed those who collude. So c < 2T − n and c < t.

The lists are tied to the view, a digest of all adverts and the task. It salts every key, so nodes that were
shown different adverts cannot read each other's shares: each view is a session of its own.

An addition to figure 4: a masked vector comes with a signature of the U2 it was masked under, and a node
confirms U3 only if all of it masked under the U2 that it was shown itself. Without it a server could show one
node a short U2, have it mask with few neighbours, and let the others confirm the full one.

How much noise. Who colludes knows its own vector, noise and all, and can take it off the sum. So a node
counts the devices in a sum without the c nodes that have most (`honest` in thresholds.py): whoever collude,
they can take out no more.

Left to the caller. A session is saved before its answer leaves. A vector goes into one session only: the sums
of two with different nodes differ by the vectors of the nodes between them. A vector counts each device once,
and needs room: the sum must stay within the width.

Assumed. The server may lie, drop, replay, and show each node something else; it chooses whom it lists and
whom it later declares dropped. The roster is honest: it belongs to the devices' owner, lists no invented
nodes, and says how many devices each node may stand for. Of the nodes listed at most c collude with the
server (`tolerated` in thresholds.py). A participant can always spoil a sum, by a wrong vector: that costs the
round, and nobody's privacy.
"""
