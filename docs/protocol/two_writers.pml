/* Two sides of one system, and whoever moves it: can both ever take writes? README.md beside this file explains.
 *
 * A life is one process that carries runs (a worker). A life that dies is one that takes no further step, and a command
 * that arrives late is a life that took its step late: so every kill, every delay and every stale worker is an order of
 * steps, and all orders are tried. What can be lost, is: a command, its answer, a host.
 *
 * Each guard has a name; compiled with -DWITHOUT_<NAME> it is missing, and a counterexample must be found.
 */

#ifndef LIVES
#define LIVES 2            /* at once; the newest is the owner, the others are dead, stale, or have not noticed */
#endif
#ifndef RUNS
#define RUNS 2
#endif
#ifndef HOST_DEATHS
#define HOST_DEATHS 1
#endif
#ifndef LOST
#define LOST 1             /* commands of which the command or the answer is lost, so that they are given again */
#endif
#ifndef WAIVERS
#define WAIVERS 0          /* inverses that a person waives */
#endif
#ifndef WORDS
#define WORDS 0            /* signed words that a side is down: failovers */
#endif
#ifndef HANDS
#define HANDS 0            /* services started or enabled by somebody on the host, not by us */
#endif
#ifndef LOOKS
#define LOOKS 0            /* hosts that have booted and are told whether they may serve: starts are guarded */
#endif
#define GUARDED (LOOKS > 0)

/* The way out, in order; the way back undoes what ended, last first. From F(rom), which holds authority, to T(o). */
#define FENCE_T    0       /* back: nothing, it stays fenced */
#define DRAIN_F    1       /* back: start F */
#define DELTA      2       /* back: open F's databases */
#define FENCE_F    3       /* back: unfence F */
#define VERIFY     4
#define MOVE       5       /* back: move, T to F */
#define PROMOTE    6       /* back: carry T's writes to F */
#define UNFENCE_T  7       /* back: fence T */
#define START_T    8       /* back: drain T */
#define COMMIT     9
#define OVER      10

typedef Host {
  bit up = 1;
  bit serves;              /* the service runs: what clients are answered by */
  bit autostart;
  bit primary;             /* its databases run and take writes */
  bit fenced;              /* the record is on disk; survives the host's death, as all of these but `serves` */
  byte seen_number;        /* the newest order that this host has obeyed */
  byte seen_ticket;
  bit lacks;               /* acknowledged writes that only the other side has */
  bit kept_down;           /* by the person whose word it was that it is down; where starts are guarded nobody need */
  byte boots;              /* how often it has come back: the name of its boot */
  bit permitted = 1        /* units may start in this boot; only where starts are guarded */
}
Host host[2];

/* The store. */
byte number = 1;
bit holder = 0;
byte moved_by = 0;         /* key of the deed that moved the number last, and its ticket */
byte moved_ticket = 0;
byte owner = 0;            /* the life that the others believe in */
byte begun = 0;            /* who began the present deed last */
bit under_way = 0;         /* a deed was begun, and nobody wrote how it ended: it is done again before anything else */
byte ticket = 0;           /* grows with the intents of ordered deeds; one number for those of a life in a row, whose steps
                              come in their order anyway: older and newer are what they are with a number for each */
byte ticket_of = 0;
byte runs = 0;
byte ended = OVER;         /* forward: steps that ended; OVER: no run is under way */
bit backward = 0, from = 0, failover = 0;

byte lives = 0, runs_left = RUNS, deaths_left = HOST_DEATHS, lost_left = LOST;
bit word_stands = 0;       /* a person said that the holder is down, and nothing was heard of it since */
byte waivers_left = WAIVERS, words_left = WORDS, hands_left = HANDS;
bit disturbed = 0;         /* something from outside the run took the service away, or a person waived its return */
bit accepted_loss = 0;
bit seeded = 0;            /* host 1 has held the system's data; before that it has nothing to serve */
bit by_hand = 0;           /* services were started by somebody else, or with their host */

#define OTHER(side) (1 - (side))
#define KEY(undoing) (2 * runs + (undoing))

/* The guard of starts lets it be: it may start in this boot. */
#ifdef WITHOUT_STARTS_GUARD
#define permitted_in(h) (1)
#else
#define permitted_in(h) (!GUARDED || host[h].permitted)
#endif

/* Its services would start with the host, or when somebody there starts them. */
#define could_start(h) \
  (host[h].autostart && !host[h].fenced && !host[h].kept_down && permitted_in(h) && (h == 0 || seeded))

/* What must never be, looked for wherever it could begin. */
inline look() {
  assert(!(host[0].serves && host[1].serves));
  assert(!host[0].serves || holder == 0);
  assert(!host[1].serves || holder == 1);
  assert(!could_start(0) || holder == 0);
  assert(!could_start(1) || holder == 1);
  assert(!(host[0].up && host[0].primary && !host[0].fenced && host[1].up && host[1].primary && !host[1].fenced))
}

inline begin_to_serve(bh) {
  host[bh].serves = 1;
  host[OTHER(bh)].lacks = 1;                      /* clients write at once */
  assert(!host[bh].lacks || accepted_loss);      /* nothing acknowledged is lost, unless a person accepted that */
  host[bh].lacks = 0;
  look()
}

/* ---- what a host does with a command; each is one step of the host, for fence.py holds a lock while it looks and acts */

#ifdef WITHOUT_ORDER
#define OLDER(h, n, t) (0)
#else
#ifdef WITHOUT_TICKET
#define OLDER(h, n, t) (n < host[h].seen_number)
#else
#define OLDER(h, n, t) (n < host[h].seen_number || (n == host[h].seen_number && t < host[h].seen_ticket))
#endif
#endif

inline do_fence(dh, dn, dt) {
  atomic {
    if
    :: !host[dh].up -> ok = 0
    :: host[dh].up && OLDER(dh, dn, dt) -> ok = 0; if :: owner == me && dt == ticket -> assert(0) :: else fi  /* progress: README */
    :: else ->
       assert(!host[dh].serves || owner == me || by_hand || ended != OVER);   /* a late fence takes no service away */
       host[dh].fenced = 1; host[dh].seen_number = dn; host[dh].seen_ticket = dt;
       host[dh].serves = 0; host[dh].autostart = 0; host[dh].kept_down = 0; host[dh].permitted = !GUARDED; ok = 1
    fi
  }
}

inline do_unfence(dh, dn, dt) {
#ifdef WITHOUT_LOCK
  ok = (host[dh].up && !OLDER(dh, dn, dt));          /* it looked; what it saw may no longer be so */
  atomic {
    if
    :: !ok || !host[dh].up -> ok = 0
    :: else ->
#else
  atomic {
    if
    :: !host[dh].up -> ok = 0
    :: host[dh].up && OLDER(dh, dn, dt) -> ok = 0; if :: owner == me && dt == ticket -> assert(0) :: else fi
    :: else ->
#endif
       host[dh].fenced = 0; host[dh].autostart = 1; host[dh].permitted = 1; ok = 1;
#ifdef WITHOUT_MARK
       host[dh].seen_number = 0; host[dh].seen_ticket = 0;
#else
       host[dh].seen_number = dn; host[dh].seen_ticket = dt;
#endif
       look()
    fi
  }
}

inline do_start(dh, dn, dt) {
  atomic {
    if
#if !defined(WITHOUT_ORDERED_START) && !defined(WITHOUT_START_GUARD)   /* a late start meets the one or the other */
    :: host[dh].up && OLDER(dh, dn, dt) -> ok = 0; if :: owner == me && dt == ticket -> assert(0) :: else fi
#endif
#ifndef WITHOUT_START_GUARD
    :: host[dh].up && host[dh].fenced && !OLDER(dh, dn, dt) ->
       ok = 0; host[dh].autostart = 1; host[dh].seen_number = dn; host[dh].seen_ticket = dt   /* enabled, for all that */
#endif
    :: !host[dh].up -> ok = 0
    :: else ->
       host[dh].primary = 1; host[dh].autostart = 1; host[dh].permitted = 1; ok = 1;
#if !defined(WITHOUT_MARK) && !defined(WITHOUT_MARK_OF_START)
       host[dh].seen_number = dn; host[dh].seen_ticket = dt;
#endif
       if :: !host[dh].serves -> begin_to_serve(dh) :: else fi;
       look()
    fi
  }
}

/* The host has booted, and is told that this side may still serve: in the boot that was seen, by an order of now. */
inline do_permit(dh, dn, dt, dboot) {
  atomic {
    if
    :: !host[dh].up || host[dh].fenced || OLDER(dh, dn, dt) -> skip
#ifndef WITHOUT_NAME_OF_BOOT
    :: host[dh].up && !host[dh].fenced && !OLDER(dh, dn, dt) && host[dh].boots != dboot -> skip
#endif
    :: else ->
       host[dh].permitted = 1; host[dh].seen_number = dn; host[dh].seen_ticket = dt;
       if :: could_start(dh) && !host[dh].serves -> host[dh].primary = 1; begin_to_serve(dh) :: else fi;
       look()
    fi
  }
}

/* Databases take writes from now on. Whoever promotes looks at what its host obeyed, and leaves no mark of its own. */
inline do_open(dh, dn, dt) {
  atomic {
    if
    :: !host[dh].up -> ok = 0
#ifndef WITHOUT_ORDERED_OPENING
    :: host[dh].up && OLDER(dh, dn, dt) -> ok = 0; if :: owner == me && dt == ticket -> assert(0) :: else fi
#endif
    :: else -> host[dh].primary = 1; ok = 1; look()
    fi
  }
}

inline do_drain(dh) {
  atomic {
    if
    :: !host[dh].up -> ok = 0
    :: else ->
       if :: host[dh].serves && owner != me -> disturbed = 1 :: else fi;
       host[dh].serves = 0; ok = 1
    fi
  }
}

inline do_shut_databases(dh) {
  atomic {
    if
    :: !host[dh].up -> ok = 0
    :: else ->
       if :: host[dh].serves -> disturbed = 1 :: else fi;   /* only a late one meets a service */
       host[dh].primary = 0; ok = 1
    fi
  }
}

inline do_shut_behind_fence(dh) {
  atomic { if :: host[dh].fenced -> host[dh].primary = 0 :: else fi }
}

/* Is it stopped, and does a fence stand? Asked of the host itself, as an order: none that is older lifts that fence. */
inline do_confirm(dh, dn, dt) {
#ifdef WITHOUT_CONFIRM
  ok = 1
#else
  atomic {
    ok = (host[dh].up && !host[dh].serves && host[dh].fenced && !OLDER(dh, dn, dt));
#ifndef WITHOUT_ORDERED_CONFIRM
    if :: ok -> host[dh].seen_number = dn; host[dh].seen_ticket = dt :: else fi
#endif
  }
#endif
}

/* Databases that a fence holds back are opened behind it, to be carried away from; the fence stands by this order then. */
inline do_recover(dh, dn, dt) {
  atomic {
    if
    :: host[dh].up && host[dh].fenced && !host[dh].primary && !OLDER(dh, dn, dt) ->
       host[dh].primary = 1; host[dh].seen_number = dn; host[dh].seen_ticket = dt; look()
    :: else -> skip
    fi
  }
}

/* ---- deeds: what a handler does in one step of a run. `ok` is what the engine hears of it. */

inline fence(at) {
  atomic { num = number; if :: holder != at -> num++ :: else fi }
  do_fence(at, num, tick)
}

inline unfence(at) {
  atomic {
    num = number;
#ifdef WITHOUT_HOLDER
    ok = 1; if :: holder != at -> num++ :: else fi
#else
    ok = (holder == at)
#endif
  }
  if :: ok -> do_unfence(at, num, tick) :: else fi
}

inline start(at) {
  atomic {
    num = number;
#ifdef WITHOUT_HOLDER
    ok = 1; if :: holder != at -> num++ :: else fi
#else
    ok = (holder == at)
#endif
  }
  if :: ok -> do_start(at, num, tick) :: else fi
}

/* delta: F's data reaches T. A late or foreign service at F makes the digests differ, now or at VERIFY. */
inline delta(old, new) {
  atomic {
    ok = (host[old].up && host[new].up && !host[new].primary);
    if :: ok -> host[new].lacks = host[old].serves; if :: new == 1 -> seeded = 1; look() :: else fi :: else fi
  }
}

inline verify(old, new) {
  atomic { ok = (host[old].up && host[new].up && !host[new].lacks && !host[old].serves) }
}

inline compare_and_set(expected, side, key) {
  atomic {
#ifdef WITHOUT_COMPARE
    number++; holder = side; moved_by = key; moved_ticket = tick; ok = 1;
#else
    if
    :: moved_by == key -> ok = 1                   /* the move that made the present state changes nothing */
    :: moved_by != key && number != expected -> ok = 0
#ifndef WITHOUT_TICKET_OF_MOVE
    :: moved_by != key && number == expected && tick < moved_ticket -> ok = 0
#endif
    :: else -> number++; holder = side; moved_by = key; moved_ticket = tick; ok = 1
    fi;
#endif
    look()
  }
}

inline move(old, new, by) {
  atomic {
    num = number; there = (holder == new); ours = (holder == new && moved_by == by);
    if :: ours -> num = number - 1 :: else fi
  }
  if
  :: there && !ours ->
#ifdef WITHOUT_RENEWAL
     ok = 1
#else
     compare_and_set(num, new, (100 + by))          /* whoever still means to move it away, fails */
#endif
  :: else ->
     do_confirm(old, num, tick);
     if :: ok -> do_shut_databases(old) :: else fi;
     if :: ok -> compare_and_set(num, new, by) :: else fi
  fi
}

/* Failover: for a side that is down a person's word stands in for the confirmation. */
inline seize(old, new, by) {
  atomic { num = number; ours = (holder == new && moved_by == by); if :: ours -> num = number - 1 :: else fi }
  if
  :: GUARDED && !ours && !word_stands -> ok = 0         /* the side came back since the word was given */
  :: else -> compare_and_set(num, new, by)
  fi
}

inline promote(new, old) {
  atomic { num = number; ok = (holder == new) }
  if :: ok && !failover -> do_shut_databases(old) :: else fi;
  if :: ok -> do_open(new, num, tick) :: else fi
}

inline carry_back(new, old) {
  atomic { num = number; ok = (holder == new) }
  if :: ok -> do_recover(new, num, tick) :: else fi;
  atomic {
    ok = (holder == new && host[new].up && host[old].up && !host[new].serves);
    if :: ok -> host[old].lacks = 0; if :: host[new].primary -> host[old].primary = 0 :: else fi :: else fi
  }
}

inline open_databases(old, new) {
  atomic { num = number; ok = (holder == old) }
  if :: ok -> do_shut_behind_fence(new) :: else fi;
  if :: ok -> atomic { ok = !host[old].fenced } :: else fi;
  if :: ok -> do_open(old, num, tick) :: else fi
}

inline forward_deed() {
  if
  :: step == FENCE_T && !failover ->
#ifdef WITHOUT_TARGET_FENCE
     ok = 1
#else
     fence(t)
#endif
  :: step == DRAIN_F -> do_drain(f)
#ifdef VERIFY_BEFORE_FENCE
  :: step == DELTA -> delta(f, t); if :: ok -> verify(f, t) :: else fi
#else
  :: step == DELTA -> delta(f, t)
#endif
  :: step == FENCE_F ->
     fence(f)
#ifdef VERIFY_BEFORE_FENCE
  :: step == VERIFY -> ok = 1
#else
  :: step == VERIFY -> verify(f, t)
#endif
  :: step == MOVE && !failover -> move(f, t, KEY(0))
  :: step == MOVE && failover -> seize(f, t, KEY(0))
  :: step == PROMOTE -> promote(t, f)
  :: step == UNFENCE_T -> unfence(t)
  :: step == START_T -> start(t)
  :: step == COMMIT -> ok = (holder == t)
  fi
}

inline inverse_deed() {
  if
  :: step == DRAIN_F -> start(f)
  :: step == DELTA -> open_databases(f, t)
  :: step == FENCE_F -> unfence(f)
  :: step == MOVE -> move(t, f, KEY(1))
  :: step == PROMOTE -> carry_back(t, f)
  :: step == UNFENCE_T -> fence(t)
  :: step == START_T -> do_drain(t)
  :: else -> ok = 1
  fi
}

/* ---- the engine */

/* Which deeds have tickets. All have; only these deeds' tickets are ever compared. */
#define ordered(s) \
  ((!backward && (s == FENCE_T || s == FENCE_F || s == MOVE || s == PROMOTE || s == UNFENCE_T || s == START_T)) || \
   (backward && (s == DRAIN_F || s == DELTA || s == FENCE_F || s == MOVE || s == UNFENCE_T)))

/* A deed that finds its host down fails and changes nothing. It is tried again without end, which would only count. */
#define worth_trying(s) \
  (!ordered(s) || (host[from].up && host[OTHER(from)].up) || failover)

proctype Life(byte me) {
  byte step, num, tick;
  bit f, t, ok, undoing, there, ours;
end_of_work:                                     /* the only place where a life may come to rest */
  do
  :: atomic {                                    /* a run is begun: there is one at a time for a system */
       owner == me && ended == OVER && runs_left > 0 && !failover && host[holder].serves ->
       runs_left--; runs++; from = holder; backward = 0; ended = 0
     }
  :: atomic {                                    /* a failover is begun: a person says that the holder is down */
       owner == me && ended == OVER && words_left > 0 && !host[holder].up ->
       words_left--; runs++; from = holder; backward = 0; failover = 1; accepted_loss = 1; ended = MOVE;
       word_stands = 1;
#ifndef WITHOUT_WORD
       host[holder].kept_down = !GUARDED
#endif
     }
  :: atomic {                                    /* turn back: asked for, or a step failed; not after the commit */
       owner == me && ended <= COMMIT && !backward && !failover && !under_way -> backward = 1
     }
  :: atomic {                                    /* the way back has come to its end */
       owner == me && ended == 0 && backward ->
       ended = OVER; backward = 0; accepted_loss = 0;
       assert(disturbed || (holder == from && !host[from].fenced && host[from].autostart))
     }
  :: atomic {                                    /* the next deed is chosen, from what is durable */
       owner == me && ended <= COMMIT && (!backward || ended > 0) && worth_trying(ended - backward) ->
       undoing = backward; step = ended - backward; f = from; t = OTHER(from); under_way = 1
     }
     atomic {                                    /* its intent is written, unless the deed was found to have ended */
       if
       :: step != ended - backward || undoing != backward || ended == OVER -> goto done
       :: else -> begun = me; if :: ordered(step) && ticket_of != me -> ticket++; ticket_of = me :: else fi; tick = ticket
       fi
     }
#ifndef WITHOUT_MAY_ACT
     if :: owner == me :: else -> break fi;      /* may this life still act? */
#endif
     if
     :: atomic { lost_left > 0 -> lost_left--; ok = 0 }                 /* the command is lost */
     :: undoing -> inverse_deed()
     :: !undoing -> forward_deed()
     fi;
     if :: atomic { lost_left > 0 && ok -> lost_left--; ok = 0 } :: true fi;      /* its answer is lost */
     atomic {                                    /* how it ended is written, unless another life began it anew */
       if
       :: owner != me && begun != me -> break
       :: step != ended - backward || undoing != backward || !under_way -> if :: owner == me :: else -> break fi
       :: else ->
          begun = 0; under_way = 0;
          if
          :: ok && !undoing && step == COMMIT -> ended = OVER; failover = 0; accepted_loss = 0
          :: ok && !undoing && step != COMMIT -> ended++
          :: ok && undoing -> ended--
          :: !ok && !undoing && step < COMMIT && !failover -> ended++; backward = 1
          :: !ok && failover && GUARDED && !word_stands && holder == from ->
             ended = OVER; failover = 0; accepted_loss = 0              /* its word is spent: the side is back */
          :: !ok && (undoing || step == COMMIT || (failover && !(GUARDED && !word_stands && holder == from))) ->
             skip                                                       /* tried again */
          :: !ok && undoing && waivers_left > 0 ->
             waivers_left--; disturbed = 1; ended--;
#ifndef WITHOUT_TICKET_OF_WAIVER
             ticket++; ticket_of = 0; moved_ticket = ticket;   /* no move that was ordered before that word */
#endif
             if :: step == PROMOTE -> host[f].lacks = 0 :: else fi    /* what was written there is given up */
          fi
       fi
     }
done:
     atomic { ok = 0; num = 0; tick = 0; there = 0; ours = 0; step = 0; f = 0; t = 0; undoing = 0 }
  :: owner != me -> break
  od
}

/* ---- the world round it */

/* Another life is believed in from now on: the one before died, sleeps, or cannot be reached. */
proctype Succession() {
  do
  :: atomic { lives < LIVES -> lives++; owner = lives; run Life(lives) }
  :: lives == LIVES -> break
  od
}

inline boot(at) {
  host[at].up = 1; host[at].boots = host[at].boots + GUARDED;
  if
  :: host[at].kept_down -> host[at].primary = 0
#ifdef WITHOUT_BOOT_GUARD
  :: !host[at].kept_down && host[at].autostart && (at == 0 || seeded) -> host[at].primary = 1; begin_to_serve(at)
#else
  :: !host[at].kept_down && host[at].fenced -> host[at].primary = 0
  :: !permitted_in(at) -> host[at].primary = 0
  :: could_start(at) -> host[at].primary = 1; begin_to_serve(at)
#endif
  :: else -> skip
  fi
}

/* Somebody looks which hosts have booted, and permits those of the holder to start. Any step may come late. */
proctype Look() {
  byte num, tick, named;
  bit h;
  if
  :: atomic { host[0].up && !host[0].permitted && !host[0].fenced -> h = 0; named = host[0].boots }
  :: atomic { host[1].up && !host[1].permitted && !host[1].fenced -> h = 1; named = host[1].boots }
  :: deaths_left == 0 && hands_left == 0 -> goto nothing
  fi;
#ifndef WITHOUT_SPENT_WORD
  word_stands = 0;
#endif
  atomic {
    if
    :: holder != h -> goto nothing
    :: else ->
       ticket++; ticket_of = 0; num = number; tick = ticket;
#ifndef WITHOUT_TICKET_OF_PERMIT
       moved_ticket = ticket                     /* no move that was ordered before, by a word from before */
#endif
    fi
  }
  do_permit(h, num, tick, named);
nothing:
  skip
}

proctype Hosts() {
  bit h;
  do
  :: atomic {
       deaths_left > 0 -> deaths_left--;
       if :: h = 0 :: h = 1 fi;
       host[h].up = 0; host[h].serves = 0; host[h].permitted = !GUARDED; by_hand = 1
     };
     atomic { boot(h); h = 0 }
  :: atomic {
       hands_left > 0 -> hands_left--; by_hand = 1;
       if :: h = 0 :: h = 1 fi;
       if
       :: host[h].up && could_start(h) && !host[h].serves ->
          host[h].primary = 1; begin_to_serve(h)
       :: host[h].up -> host[h].autostart = 1     /* enabled, fence or not: they would start with their host */
       :: else -> skip
       fi;
       h = 0
     }
  :: deaths_left == 0 && hands_left == 0 -> break
  od
}

init {
  byte looks;
  atomic {
    host[0].serves = 1; host[0].primary = 1; host[0].autostart = 1;
    host[1].lacks = 1; host[1].autostart = 1;    /* an image may well start its services with the host */
    run Succession();
    do
    :: looks < LOOKS -> looks++; run Look()
    :: else -> break
    od;
    run Hosts()
  }
}
