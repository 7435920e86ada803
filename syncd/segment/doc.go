// Package segment is the log that syncd's queue, cache and audit stand on. Its
// one guarantee: a record whose Append returned is there after any stop, once and
// unchanged, until its segment is retired; and what was never appended, or lay in
// the file from before, is never read.
//
// A log is a folder of segments, files of one size that are written full of zeros
// before they are used and recycled when their owner has retired them, so that an
// append changes no metadata and one fdatasync makes it durable. Concurrent
// appends share that one fdatasync.
//
//	0000000000000007.seg    live; the number is its generation, oldest lowest
//	0000000000000003.free   to be used again
//	9f86d081884c7d65.new    being written for the first time
//	lock                    held by the one process that has the log open
//
// A segment begins with its header, twice, then records one after the other. A
// record carries its segment's generation, its own offset and a checksum over a
// random salt that every use of a file draws anew: neither bytes of an earlier
// use nor a record moved or copied inside another is ever taken for a record.
//
// A record also says up to where its segment was durable when it was written. So
// after a stop the log can tell a torn end, which nobody was promised, from damage
// to what had been promised: the first is wiped, the second is reported, and what
// lies behind it is still found. Only in the very last write before a stop are
// the two alike.
//
// After a write or fdatasync that failed nothing is written to that segment any
// more and no later fdatasync of it is believed: the kernel may have thrown the
// bytes away and marked its pages clean. The next segment's header says where the
// failed one ends, as it does for every live segment before it.
package segment
