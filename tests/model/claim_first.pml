/* The protocol of docs/protocol.md in small, for Spin: control word, ring without tickets, lease, recovery, patrol.
   Two producers, two workers, one recoverer; anybody may be killed before any step, a worker may lose its lease while
   it lives, the recoverer may be killed half way and starts over. What is one step here is one access to the segment
   there. Sequentially consistent: weaker orders are the matter of tests/interleaving.

   Safety    no accepted task is lost, none acknowledged twice, no payload of another life is run
   Progress  when nothing can move any more, everything accepted is over and no slot is held; and no cycle: nobody
             goes round waiting for another (checked apart, with -DNP)

   CANARY names one rule that is left out; run.sh expects each to be noticed.                                      */

#define kAckByState 1    /* acknowledge whatever is leased in the slot */
#define kNoRecheck 2     /* believe a payload without looking at the word again */
#define kNoPatrol 3      /* nobody looks for ready tasks without a hint */
#define kKeepAllocated 4 /* recovery forgets the slots that were being filled */
#ifndef CANARY
#define CANARY 0
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef EXPIRIES
#define EXPIRIES 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef EARLY /* patrols in the middle of things; one always comes when all is still */
#define EARLY 1
#endif

/* To keep the search small: one producer after the other; the second worker alone. */
#ifndef SERIAL
#define SERIAL 0
#endif
#ifndef WORKERS
#define WORKERS 2
#endif

#define SLOTS 2
#define CELLS 2
#define TASKS 3 /* 1 and 2; 0 is nothing */

/* control word: generation << 8 | grant << 5 | owner << 2 | state */
#define kFree 0
#define kAlloc 1
#define kReady 2
#define kLeased 3
#define WORD(generation, grant, owner, state) ((generation) << 8 | (grant) << 5 | (owner) << 2 | (state))
#define GENERATION(w) ((w) >> 8)
#define GRANT(w) ((w) >> 5 & 7)
#define OWNER(w) ((w) >> 2 & 7)
#define STATE(w) ((w) & 3)
#define REGRANTED(w) WORD(GENERATION(w), GRANT(w) + 1, 0, kReady)

/* cell: lap << 6 | generation << 2 | slot */
#define CELL(lap, generation, slot) ((lap) << 6 | (generation) << 2 | (slot))
#define LAP(c) ((c) >> 6)
#define TAG(c) ((c) >> 2 & 15)
#define SLOT(c) ((c) & 3)
#define LAP_OF(position) ((position) / CELLS + 1)
#define FILLED(position) (LAP(cells[(position) % CELLS]) == LAP_OF(position))

/* participants: 1, 2 produce; 3, 4 work */
short word[SLOTS];
byte payload[SLOTS];
short cells[CELLS];
byte head, tail;
bool dead[5];
bool recoverer_dies;

/* what only the judge knows */
bool accepted[TASKS], finished[3];
byte acknowledged[TASKS];
byte home[TASKS]; /* generation << 1 | slot */
byte kills, expiries, crashes, early;

/* Each atomic block is one access to the segment with what its process makes of it; at, seen, ok are the caller's. */
inline push(generation, slot) {
  do
  :: atomic {
       at = tail;
       if :: at >= head + CELLS -> break /* full: the hint is not stored */ :: else -> seen = cells[at % CELLS] fi
     };
     atomic {
       ok = LAP(seen) < LAP_OF(at) && cells[at % CELLS] == seen;
       if :: ok -> cells[at % CELLS] = CELL(LAP_OF(at), generation, slot) :: else fi
     };
     atomic { /* the tail follows, also for a pusher that did not come that far */
       if :: (ok || LAP(seen) == LAP_OF(at)) && tail == at -> tail = at + 1 :: else fi;
       if :: ok -> break :: else fi
     }
  od;
  atomic { at = 0; seen = 0; ok = false }
}

proctype Producer(byte me) {
  short w, seen;
  byte slot, at;
  bool ok;
  {
    atomic {
      me == 1 || !SERIAL || finished[1] || dead[1];
      if
      :: STATE(word[0]) == kFree -> slot = 0
      :: STATE(word[0]) != kFree && STATE(word[1]) == kFree -> slot = 1
      :: else -> goto over /* full, and the caller is told */
      fi;
      w = WORD(GENERATION(word[slot]) + 1, 0, me, kAlloc);
      word[slot] = w
    };
    payload[slot] = me; /* its number is the producer's */
    atomic {
      assert(word[slot] == w);
      word[slot] = WORD(GENERATION(w), 0, 0, kReady);
      accepted[me] = true;
      home[me] = GENERATION(w) << 1 | slot
    };
    push(GENERATION(w), slot);
  over: atomic { finished[me] = true; w = 0; seen = 0; slot = 0; at = 0; ok = false }
  } unless { atomic { dead[me] -> w = 0; seen = 0; slot = 0; at = 0; ok = false } }
}

inline advance_head() { if :: head == at -> head = at + 1 :: else fi }

proctype Worker(byte me) {
  short w, seen;
  byte slot, at, number;
  bool ok;
  {
    do
    :: atomic { /* asleep while there is no hint; what is read here is looked at again by the change */
         FILLED(head) -> at = head;
         seen = cells[at % CELLS];
         slot = SLOT(seen);
         w = word[slot]
       };
       atomic {
         ok = STATE(w) == kReady && GENERATION(w) == TAG(seen) && word[slot] == w;
         if :: ok -> w = WORD(GENERATION(w), GRANT(w), me, kLeased); word[slot] = w :: else /* stale */ fi
       };
       atomic { advance_head() };
       if
       :: ok ->
          number = payload[slot];
          atomic {
            ok = word[slot] == w || CANARY == kNoRecheck;
            if :: ok -> assert(home[number] == (GENERATION(w) << 1 | slot)) /* it runs what it claimed */ :: else fi
          };
          atomic {
            ok = ok && (word[slot] == w || (CANARY == kAckByState && STATE(word[slot]) == kLeased));
            if
            :: ok ->
               word[slot] = WORD(GENERATION(word[slot]), GRANT(word[slot]), 0, kFree);
               acknowledged[number]++;
               assert(acknowledged[number] == 1)
            :: else /* refused: the lease was lost */
            fi;
            w = 0; seen = 0; at = 0; slot = 0; number = 0; ok = false
          }
       :: else -> atomic { w = 0; seen = 0; at = 0; slot = 0; ok = false }
       fi
    od
  } unless { atomic { dead[me] -> w = 0; seen = 0; at = 0; slot = 0; number = 0; ok = false } }
}

#define OF_THE_DEAD(s) (OWNER(word[s]) != 0 && dead[OWNER(word[s])])
#if CANARY == kKeepAllocated
#define TO_RECOVER(s) (OF_THE_DEAD(s) && STATE(word[s]) == kLeased)
#else
#define TO_RECOVER(s) OF_THE_DEAD(s)
#endif
#define WITHOUT_HINT(s) (CANARY != kNoPatrol && STATE(word[s]) == kReady && !FILLED(head))
#define TO_EXPIRE(s) (expiries < EXPIRIES && STATE(word[s]) == kLeased)

active proctype Recoverer() {
  short w, seen;
  byte at, slot;
  bool ok, ready;
start:
  {
    do
    :: atomic {
         if
         :: TO_RECOVER(0) -> slot = 0
         :: TO_RECOVER(1) -> slot = 1
         :: WITHOUT_HINT(0) && early < EARLY -> slot = 0; early++
         :: WITHOUT_HINT(1) && early < EARLY -> slot = 1; early++
         :: timeout && WITHOUT_HINT(0) -> slot = 0
         :: timeout && !WITHOUT_HINT(0) && WITHOUT_HINT(1) -> slot = 1
         :: TO_EXPIRE(0) -> slot = 0; expiries++
         :: TO_EXPIRE(1) -> slot = 1; expiries++
         fi;
         w = word[slot]
       };
       atomic {
         ok = word[slot] == w;
         ready = ok && STATE(w) != kAlloc;
         if
         :: ok && STATE(w) == kAlloc -> word[slot] = WORD(GENERATION(w), 0, 0, kFree)
         :: ok && STATE(w) == kLeased -> word[slot] = REGRANTED(w)
         :: else /* ready without a hint, or somebody was quicker */
         fi
       };
       if :: ready -> push(GENERATION(w), slot) :: else fi;
       atomic { w = 0; seen = 0; at = 0; slot = 0; ok = false; ready = false }
    od
  } unless { atomic { recoverer_dies -> recoverer_dies = false; w = 0; seen = 0; at = 0; slot = 0; ok = false; ready = false } };
  goto start
}

/* Somebody always is left to work: the second worker is stopped as often as anybody, but not killed. */
active proctype Killer() {
  do
  :: atomic { kills < KILLS && !dead[1] && !finished[1] -> dead[1] = true; kills++ }
  :: atomic { kills < KILLS && !dead[2] && !finished[2] -> dead[2] = true; kills++ }
  :: atomic { kills < KILLS && WORKERS == 2 && !dead[3] -> dead[3] = true; kills++ }
  :: atomic { crashes < CRASHES -> recoverer_dies = true; crashes++ }
  :: break
  od
}

/* Nothing can move: then nothing may be left to do. */
active proctype Judge() {
  timeout && !WITHOUT_HINT(0) && !WITHOUT_HINT(1);
  d_step {
    assert(finished[1] || dead[1]);
    assert(finished[2] || dead[2]);
    assert(!accepted[1] || acknowledged[1] == 1);
    assert(!accepted[2] || acknowledged[2] == 1);
    assert(STATE(word[0]) == kFree && STATE(word[1]) == kFree)
  }
}

init {
  atomic {
    run Producer(1);
    run Producer(2);
    if :: WORKERS == 2 -> run Worker(3) :: else fi;
    run Worker(4)
  }
}
