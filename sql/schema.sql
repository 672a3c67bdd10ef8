-- What sql/migrations make of an empty database: for reading, never applied. A test keeps it true;
-- `make schema` writes it again. The partitions of single months are left out.

CREATE TYPE public.due_queue AS (
	tick_id bigint,
	schedule_id integer,
	messageset_id integer,
	oldest timestamp with time zone,
	share integer,
	max_rate integer,
	probation bigint
);

COMMENT ON TYPE public.due_queue IS 'A queue, with the due_at of its oldest send. share: how many sends its turn gives; max_rate: that of its schedule; probation: up to how many messages its tick may be sent before it is judged. Null: any number.';

CREATE DOMAIN public.send_hours AS text
	CONSTRAINT send_hours_check CHECK (((VALUE ~ '^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$'::text) AND ("left"(VALUE, 5) <> "right"(VALUE, 5))));

COMMENT ON DOMAIN public.send_hours IS 'From when until when, by the clock of a time zone: 08:00-20:00. It may end on the next day.';

CREATE FUNCTION public.are_under_way(messageset_ids integer[]) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether people get, or will get, messages of one of these sets: an active subscription is on it,
-- or on a set that leads to it.
WITH RECURSIVE onward AS (
    SELECT unnest(messageset_ids) AS id
    UNION
    SELECT messagesets.id FROM messagesets JOIN onward ON messagesets.next_set_id = onward.id)
SELECT EXISTS (SELECT FROM onward CROSS JOIN LATERAL (
                   SELECT FROM subscriptions
                    WHERE messageset_id = onward.id AND active AND NOT completed LIMIT 1) member)
$$;

CREATE FUNCTION public.audit_row() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- Writes what an author has changed in a row. The first argument of the trigger is the column that
-- names the row; the others are secrets.
DECLARE
    author CONSTANT jsonb := author();
    -- The place of a subscription. It has moved on if one of them has changed, whichever it is.
    place CONSTANT text[] := CASE TG_TABLE_NAME WHEN 'subscriptions' THEN ARRAY[
        'messageset_id', 'lang', 'next_sequence_number', 'active', 'completed', 'process_status']
        ELSE '{}' END;
    is_placed boolean;
    secret CONSTANT text[] := COALESCE(TG_ARGV[1:], '{}');
    whole jsonb;
    was jsonb;
    becomes jsonb;
BEGIN
    IF TG_OP = 'INSERT' THEN
        whole := to_jsonb(NEW);
        becomes := audited_columns(whole, secret);
    ELSIF TG_OP = 'DELETE' THEN
        whole := to_jsonb(OLD);
        was := audited_columns(whole, secret);
    ELSE
        whole := to_jsonb(OLD);
        is_placed := EXISTS (
            SELECT FROM unnest(place) name WHERE whole -> name <> to_jsonb(NEW) -> name);
        SELECT audited_columns(jsonb_object_agg(key, former.value), secret),
               audited_columns(jsonb_object_agg(key, latter.value), secret)
          INTO was, becomes
          FROM jsonb_each(whole) AS former JOIN jsonb_each(to_jsonb(NEW)) AS latter USING (key)
         WHERE former.value <> latter.value OR is_placed AND key = ANY (place);
        IF becomes IS NULL OR becomes = '{}' THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO audit (actor, user_id, action, reason, request_id, undoes, table_name, row_id,
                       operation, before, after, identity)
    VALUES (author ->> 'actor', (author ->> 'user_id')::integer, author ->> 'action',
            COALESCE(author ->> 'reason', ''), author ->> 'request_id',
            (author ->> 'undoes')::bigint, TG_TABLE_NAME, whole ->> TG_ARGV[0], lower(TG_OP),
            was, becomes, whole ->> 'identity');
    RETURN NULL;
END
$$;

CREATE FUNCTION public.audited_columns(whole jsonb, secret text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE
    AS $$
-- Columns of a row as the audit stores them: secrets are hidden, and what the service derives is
-- left out.
DECLARE
    name text;
    stored jsonb := whole - ARRAY[
        'updated_at', 'updated_by', 'joined_xid', 'joined_at', 'next_tick_at', 'next_tick_rule',
        'next_tick_set_at', 'paused_at', 'seen_at', 'last_used_at', 'version_id'];
BEGIN
    FOREACH name IN ARRAY secret LOOP
        IF stored -> name <> 'null' THEN
            stored := jsonb_set(stored, ARRAY[name], '"***"');
        END IF;
    END LOOP;
    RETURN stored;
END
$$;

CREATE FUNCTION public.author() RETURNS jsonb
    LANGUAGE sql STABLE
    AS $$
-- The author of the changes of this transaction; null: it is the pipeline, or somebody with psql.
SELECT nullif(current_setting('sbm.author', true), '')::jsonb
$$;

CREATE FUNCTION public.author_id() RETURNS integer
    LANGUAGE sql STABLE
    AS $$
-- The user of the API who is the author of the changes of this transaction, if one is.
SELECT (author() ->> 'user_id')::integer
$$;

CREATE FUNCTION public.blank_forgotten_result() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- The result of a send to a person who was forgotten meanwhile, without what leads to the person.
BEGIN
    NEW.send_id := gen_random_uuid();
    NEW.outbound_id := NULL;
    NEW.prepend := NULL;
    IF NEW.reason <> '' THEN
        NEW.reason := 'the person was forgotten';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION public.clock_reach(tick_id bigint) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- How far back the clock may have been set since a tick was made, never above zero: rows that were
-- written for the tick afterwards may lie before it by so much.
SELECT COALESCE(sum(LEAST(size, interval '0')), interval '0') FROM clock_jumps
 WHERE last_tick_id >= tick_id
$$;

CREATE FUNCTION public.clock_shift(tick_id bigint, written_at timestamp with time zone) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- By how much the clock has been set since a tick wrote down this moment: add it to have the moment
-- as the clock of now would have told it. What was written after a jump, and before it was seen,
-- was written by the clock as it was after the jump.
SELECT COALESCE(sum(size), interval '0') FROM clock_jumps
 WHERE last_tick_id >= tick_id AND NOT written_at BETWEEN earliest_at AND seen_at
$$;

CREATE FUNCTION public.covered_below(seen pg_snapshot) RETURNS xid8
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- A tick with this snapshot covers whoever joined before this transaction, as tick_covers says. Null:
-- the snapshot is of another server.
SELECT CASE WHEN pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
            THEN pg_snapshot_xmin(seen) END
$$;

CREATE TABLE public.schedules (
    id integer NOT NULL,
    minute text DEFAULT '*'::text NOT NULL,
    hour text DEFAULT '*'::text NOT NULL,
    day_of_week text DEFAULT '*'::text NOT NULL,
    day_of_month text DEFAULT '*'::text NOT NULL,
    month_of_year text DEFAULT '*'::text NOT NULL,
    next_tick_at timestamp with time zone,
    next_tick_rule text,
    next_tick_set_at timestamp with time zone,
    time_zone text,
    send_hours public.send_hours,
    max_age integer,
    max_rate integer,
    canary integer,
    brake_percent integer,
    brake_after integer,
    CONSTRAINT schedules_brake_after_check CHECK ((brake_after > 0)),
    CONSTRAINT schedules_brake_percent_check CHECK (((brake_percent >= 0) AND (brake_percent <= 99))),
    CONSTRAINT schedules_canary_check CHECK ((canary > 0)),
    CONSTRAINT schedules_check CHECK (((brake_percent IS NULL) = (brake_after IS NULL))),
    CONSTRAINT schedules_day_of_month_check CHECK ((char_length(day_of_month) <= 64)),
    CONSTRAINT schedules_day_of_week_check CHECK ((char_length(day_of_week) <= 64)),
    CONSTRAINT schedules_hour_check CHECK ((char_length(hour) <= 64)),
    CONSTRAINT schedules_max_age_check CHECK ((max_age > 0)),
    CONSTRAINT schedules_max_rate_check CHECK ((max_rate > 0)),
    CONSTRAINT schedules_minute_check CHECK ((char_length(minute) <= 64)),
    CONSTRAINT schedules_month_of_year_check CHECK ((char_length(month_of_year) <= 64)),
    CONSTRAINT schedules_time_zone_check CHECK ((char_length(time_zone) <= 64))
);

COMMENT ON COLUMN public.schedules.next_tick_at IS 'The next tick of the built-in clock; null: none, or not computed yet.';

COMMENT ON COLUMN public.schedules.next_tick_rule IS 'The version of the rule, the cron fields and the time zone from which next_tick_at was computed. If they are not the present ones, next_tick_at is out of date.';

COMMENT ON COLUMN public.schedules.next_tick_set_at IS 'When next_tick_at was computed. If this is in the future, the clock was wrong then.';

COMMENT ON COLUMN public.schedules.time_zone IS 'The IANA name of the time zone in which the fields are read. Null: that of SBM_TIMEZONE.';

COMMENT ON COLUMN public.schedules.send_hours IS 'When messages may leave, in its time zone; null: always.';

COMMENT ON COLUMN public.schedules.max_age IS 'After so many seconds, what is owed is skipped; null: never.';

COMMENT ON COLUMN public.schedules.max_rate IS 'How many messages may leave in a second; null: any number.';

COMMENT ON COLUMN public.schedules.canary IS 'After so many messages, each of its ticks waits for a person; null: it does not.';

COMMENT ON COLUMN public.schedules.brake_percent IS 'If more of a hundred messages of a tick are refused or fail, the tick stops; null: it does not.';

COMMENT ON COLUMN public.schedules.brake_after IS 'The brake looks at so many messages at least.';

CREATE FUNCTION public.cron_definition(schedule public.schedules) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
-- When the Scheduler is to call. Null: it is not told of this schedule, because that is for a date
-- that does not exist, or cannot be said in words that the Scheduler understands.
DECLARE
    days integer[] := cron_numbers('day_of_month', tidy_cron_field(schedule.day_of_month));
    months integer[] := cron_numbers('month_of_year', tidy_cron_field(schedule.month_of_year));
BEGIN
    IF days[1] > (SELECT max(CASE WHEN month = 2 THEN 29 WHEN month IN (4, 6, 9, 11) THEN 30
                                  ELSE 31 END) FROM unnest(months) month) THEN
        RETURN NULL;
    END IF;
    RETURN told_cron_field('minute', schedule.minute)
        || ' ' || told_cron_field('hour', schedule.hour)
        || ' ' || told_cron_field('day_of_month', schedule.day_of_month)
        || ' ' || told_cron_field('month_of_year', schedule.month_of_year)
        || ' ' || told_cron_field('day_of_week', schedule.day_of_week);
END
$$;

CREATE FUNCTION public.cron_numbers(name text, field text) RETURNS integer[]
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
-- The numbers that a tidy field means, in order; Sunday is 0. Null: it cannot be read.
-- sbm/model/cron.py reads fields in the same way.
DECLARE
    lowest integer := CASE WHEN name IN ('day_of_month', 'month_of_year') THEN 1 ELSE 0 END;
    highest integer := CASE name WHEN 'minute' THEN 59 WHEN 'hour' THEN 23
                                 WHEN 'day_of_month' THEN 31 WHEN 'month_of_year' THEN 12
                                 WHEN 'day_of_week' THEN 7 END;
    numbers integer[] := '{}';
    part text;
    term text[];
    first integer;
    last integer;
    step integer;
BEGIN
    FOREACH part IN ARRAY string_to_array(field, ',') LOOP
        term := regexp_match(
            part, '^(?:(\*)|([0-9]{1,9})(?:-([0-9]{1,9}))?)(?:/([0-9]{1,9}))?$');
        IF term IS NULL THEN
            RETURN NULL;
        END IF;
        step := COALESCE(term[4]::integer, 1);
        first := COALESCE(term[2]::integer, lowest);
        -- A step after a single number counts on to the end of the range.
        last := CASE WHEN term[1] IS NOT NULL OR term[3] IS NULL AND term[4] IS NOT NULL
                     THEN highest ELSE COALESCE(term[3]::integer, first) END;
        IF step = 0 OR first < lowest OR last < first OR last > highest THEN
            RETURN NULL;
        END IF;
        numbers := numbers || ARRAY(SELECT CASE WHEN name = 'day_of_week' THEN n % 7 ELSE n END
                                      FROM generate_series(first, last, step) n);
    END LOOP;
    RETURN ARRAY(SELECT DISTINCT n FROM unnest(numbers) n ORDER BY n);
END
$_$;

CREATE FUNCTION public.date_row() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.dated_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION public.date_send() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF OLD.dated_at > clock_timestamp()
       AND (NEW.unknown_since = OLD.unknown_since OR NEW.unknown_since = OLD.lease_until) THEN
        NEW.unknown_since := NEW.unknown_since - (OLD.dated_at - clock_timestamp());
    END IF;
    IF NEW.first_attempt_at > clock_timestamp() THEN
        NEW.first_attempt_at := now();
    END IF;
    NEW.dated_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION public.date_unknown() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF OLD.dated_at > clock_timestamp()
       AND (NEW.unknown_since = OLD.unknown_since OR NEW.unknown_since = OLD.lease_until) THEN
        NEW.unknown_since := NEW.unknown_since - (OLD.dated_at - clock_timestamp());
    END IF;
    NEW.dated_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION public.drop_forgotten_failure() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- What failed for a person who was forgotten cannot be sent again. The ledger has it.
BEGIN
    RETURN NULL;
END
$$;

CREATE FUNCTION public.drop_partitions(parent text, months_kept integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
-- Drops the partitions that end before this month less so many, in UTC. Answers how many.
DECLARE
    oldest_kept text := parent || to_char(
        (now() AT TIME ZONE 'UTC') - make_interval(months => months_kept), '_YYYY_MM');
    partition_name text;
    dropped integer := 0;
BEGIN
    PERFORM partition_column(parent);
    PERFORM pg_advisory_xact_lock(736266, 2);
    FOR partition_name IN
        SELECT child.relname FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = to_regclass(quote_ident(parent))
           AND child.relname ~ ('^' || parent || '_\d{4}_\d{2}$')
           AND child.relname COLLATE "C" < oldest_kept COLLATE "C"
    LOOP
        EXECUTE format('DROP TABLE %I', partition_name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$_$;

CREATE FUNCTION public.expected_path(of_search bigint, ids uuid[]) RETURNS TABLE(subscription_id uuid, step integer, messageset_id integer, schedule_id integer, since timestamp with time zone, number integer, finishes boolean, missed bigint)
    LANGUAGE sql STABLE
    AS $$
-- The path of each of these subscriptions that is under way, a row for each set on it: a run of the
-- schedule after it began sends one message, from its initial number on; a set that is finished
-- is followed by the next one, on its own schedule, from the run that sent the last message.
-- number is where the runs have brought it in the set, and finishes that its last message was
-- sent; missed, how many messages of it were not sent. A subscription beyond the end of its
-- content is finished by the run after the last message, one at least, and goes on only if
-- the ledger has a send of its set to it. A path that goes in circles is followed through 100 sets,
-- and the last of them is left unfinished.
-- The numbers of a set are the same for all who read it in a language, so they are looked up once,
-- as an array in their order; width_bucket(n, numbers) is how many of them are n at most.
WITH RECURSIVE reached AS (
    SELECT s.messageset_id, s.lang
      FROM unnest(ids) AS given (id)
      JOIN subscriptions s ON s.id = given.id AND s.active AND NOT s.completed
     UNION
    SELECT messagesets.next_set_id, reached.lang
      FROM reached JOIN messagesets ON messagesets.id = reached.messageset_id
     WHERE next_set_id IS NOT NULL
), content AS MATERIALIZED (
    SELECT reached.messageset_id, reached.lang, ARRAY(
               SELECT place.sequence_number::bigint
                 FROM places(reached.messageset_id, reached.lang) place
                ORDER BY place.sequence_number) AS numbers
      FROM reached
), path AS (
    SELECT s.id, 1 AS step, s.lang, s.messageset_id, s.schedule_id, s.created_at AS since,
           s.initial_sequence_number AS initial, s.next_sequence_number AS stands_at,
           leg.runs_before, leg.runs, stand.ends, stand.goes_on, content.numbers,
           CASE WHEN stand.ends AND stand.goes_on THEN GREATEST(leg.messages, 1)
                ELSE leg.messages END AS messages
      FROM unnest(ids) AS given (id)
      JOIN subscriptions s ON s.id = given.id AND s.active AND NOT s.completed
      JOIN content ON content.messageset_id = s.messageset_id AND content.lang = s.lang
     CROSS JOIN LATERAL (
           SELECT cardinality(content.numbers)
                  - width_bucket(s.initial_sequence_number::bigint - 1, content.numbers)
                      AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search AND r.schedule_id = s.schedule_id
                       ORDER BY r.number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search AND r.schedule_id = s.schedule_id
                         AND r.run_at <= s.created_at
                       ORDER BY r.run_at DESC LIMIT 1), 0) AS number) before) leg
     CROSS JOIN LATERAL (
           SELECT COALESCE(content.numbers[cardinality(content.numbers)]
                           < s.next_sequence_number, false) AS ends) beyond
     CROSS JOIN LATERAL (
           SELECT beyond.ends, CASE WHEN beyond.ends THEN EXISTS (
                      SELECT FROM ledger
                       WHERE ledger.subscription_id = s.id
                         AND ledger.messageset_id = s.messageset_id AND ledger.kind = 'next'
                         AND (ledger.outcome IN ('sent', 'adopted', 'dry-run')
                              OR ledger.is_assumed)
                      OFFSET 0) ELSE true END AS goes_on) stand
    UNION ALL
    SELECT path.id, path.step + 1, path.lang, following.id, following.default_schedule_id,
           finish.run_at, 1, 1, leg.runs_before, leg.runs, false, true, content.numbers,
           leg.messages
      FROM path
      JOIN schedule_runs finish ON finish.search_id = of_search
                               AND finish.schedule_id = path.schedule_id
                               AND finish.number = path.runs_before + path.messages
      JOIN messagesets finished ON finished.id = path.messageset_id
      JOIN messagesets following ON following.id = finished.next_set_id
      JOIN content ON content.messageset_id = following.id AND content.lang = path.lang
     CROSS JOIN LATERAL (
           SELECT cardinality(content.numbers) - width_bucket(0::bigint, content.numbers)
                      AS messages,
                  before.number AS runs_before, COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search
                         AND r.schedule_id = following.default_schedule_id
                       ORDER BY r.number DESC LIMIT 1), 0) - before.number AS runs
             FROM (SELECT COALESCE((
                      SELECT r.number FROM schedule_runs r
                       WHERE r.search_id = of_search
                         AND r.schedule_id = following.default_schedule_id
                         AND r.run_at <= finish.run_at
                       ORDER BY r.run_at DESC LIMIT 1), 0) AS number) before) leg
     WHERE path.messages > 0 AND path.runs >= path.messages AND path.step < 100 AND path.goes_on
)
SELECT path.id, path.step, path.messageset_id, path.schedule_id, path.since,
       GREATEST(path.stands_at,
                CASE WHEN last.sequence_number IS NULL THEN path.initial
                     WHEN path.runs >= path.messages THEN last.sequence_number
                     ELSE last.sequence_number + 1 END)::integer,
       (last.sequence_number IS NOT NULL OR path.ends) AND path.runs >= path.messages
           AND (path.step < 100 OR current.next_set_id IS NULL),
       CASE WHEN last.sequence_number IS NULL OR last.sequence_number < path.stands_at THEN 0
            ELSE width_bucket(last.sequence_number, path.numbers)
                 - width_bucket(path.stands_at::bigint - 1, path.numbers) END::bigint
  FROM path
  JOIN messagesets current ON current.id = path.messageset_id
 CROSS JOIN LATERAL (
       -- The last message that the runs of this step have sent; null: they have sent none yet.
       SELECT CASE WHEN path.runs > 0 AND path.messages > 0
                   THEN path.numbers[width_bucket(path.initial::bigint - 1, path.numbers)
                                     + LEAST(path.runs, path.messages)] END
                  AS sequence_number) last
$$;

CREATE FUNCTION public.has_changed_since(of_set integer, of_lang text, moment timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether messages that decide where a set ends in a language changed after this moment.
SELECT EXISTS (
    SELECT FROM content_changes JOIN messagesets ON messagesets.id = messageset_id
     WHERE messageset_id = of_set AND changed_at > moment
       AND (lang = of_lang OR on_missing_translation <> 'next'))
$$;

CREATE FUNCTION public.has_places(of_set integer, of_lang text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
-- Whether the set has anything for readers in this language.
BEGIN
    RETURN EXISTS (SELECT FROM places(of_set, of_lang));
END
$$;

CREATE FUNCTION public.hold_of(tick_id bigint, schedule_id integer, messageset_id integer) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Why the sends of a queue are held back; null: they are not.
SELECT CASE WHEN EXISTS (SELECT FROM pauses
                          WHERE ended_at IS NULL
                            AND pause_covers(pauses, hold_of.tick_id, hold_of.schedule_id,
                                             hold_of.messageset_id))
            THEN 'paused'
            WHEN leaves_for(hold_of.schedule_id, hold_of.messageset_id) <= interval '0'
            THEN 'hours'
            ELSE (SELECT hold FROM watched_ticks w
                   WHERE w.tick_id = hold_of.tick_id AND hold IS NOT NULL) END
$$;

CREATE FUNCTION public.hours_left(hours text, zone text, moment timestamp with time zone) RETURNS interval
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
-- How long messages may still leave; zero: not now; null: no hours are set. A time zone that this
-- server does not know counts as UTC, so that one schedule does not stop all others.
DECLARE
    began time := left(hours, 5)::time;
    ended time := right(hours, 5)::time;
    here timestamp;
    closing timestamp;
BEGIN
    IF hours IS NULL THEN
        RETURN NULL;
    END IF;
    BEGIN
        here := moment AT TIME ZONE zone;
    EXCEPTION WHEN invalid_parameter_value THEN
        zone := 'UTC';
        here := moment AT TIME ZONE zone;
    END;
    IF (CASE WHEN began < ended THEN here::time >= began AND here::time < ended
             ELSE here::time >= began OR here::time < ended END) THEN
        closing := here::date + ended;
        IF closing <= here THEN
            closing := closing + interval '1 day';
        END IF;
        RETURN closing AT TIME ZONE zone - moment;
    END IF;
    RETURN interval '0';
END
$$;

CREATE FUNCTION public.is_slowed(tick_id bigint, schedule_id integer) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether the sends of a tick wait for their moments, or for the results of the first ones.
SELECT EXISTS (SELECT FROM schedules WHERE id = schedule_id AND max_rate IS NOT NULL)
    OR EXISTS (SELECT FROM watched_ticks w
                WHERE w.tick_id = is_slowed.tick_id
                  AND (canary IS NOT NULL OR posted < brake_after))
$$;

CREATE FUNCTION public.is_told(of_kind text, of_target text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether the Scheduler calls for a schedule or a subscription, or is being told to.
SELECT EXISTS (SELECT FROM scheduler_schedules
                WHERE kind = of_kind AND target = of_target AND enabled IS DISTINCT FROM false
                  AND is_addressed)
    OR EXISTS (SELECT FROM scheduler_calls
                WHERE kind = of_kind AND target = of_target AND state <> 'refused')
$$;

CREATE FUNCTION public.last_ledger_id() RETURNS bigint
    LANGUAGE sql STABLE
    AS $$
SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ledger_id
$$;

CREATE TABLE public.ticks (
    id bigint NOT NULL,
    source text NOT NULL,
    state text NOT NULL,
    schedule_id integer,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    shard smallint,
    expanded_up_to uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    triggers bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expanded_at timestamp with time zone,
    checked_at timestamp with time zone,
    is_checked_off boolean DEFAULT false NOT NULL,
    missing bigint DEFAULT 0 NOT NULL,
    snapshot pg_snapshot,
    follows bigint,
    follows_beyond bigint,
    opened_by text,
    outcomes jsonb,
    counted_at timestamp with time zone,
    after_ledger_id bigint DEFAULT public.last_ledger_id(),
    repetition uuid,
    skipped_by bigint[],
    stopped_by text,
    stopped_at timestamp with time zone,
    skipped_again bigint DEFAULT 0 NOT NULL,
    skipped_again_since bigint,
    CONSTRAINT ticks_check CHECK (((source = 'single'::text) = (schedule_id IS NULL))),
    CONSTRAINT ticks_check1 CHECK (((source = 'single'::text) = (shard IS NOT NULL))),
    CONSTRAINT ticks_check2 CHECK (((stopped_by IS NULL) = (stopped_at IS NULL))),
    CONSTRAINT ticks_check3 CHECK (((skipped_again > 0) = (skipped_again_since IS NOT NULL))),
    CONSTRAINT ticks_source_check CHECK ((source = ANY (ARRAY['clock'::text, 'post-back'::text, 'single'::text]))),
    CONSTRAINT ticks_state_check CHECK ((state = ANY (ARRAY['expanding'::text, 'expanded'::text, 'missed'::text])))
)
WITH (fillfactor='50');

COMMENT ON COLUMN public.ticks.source IS 'clock: the built-in clock; post-back: POST /schedule/<id>/send/; single: the triggers for one subscription each, which share a tick a minute.';

COMMENT ON COLUMN public.ticks.due_at IS 'clock: the due moment of the cron; single: the minute.';

COMMENT ON COLUMN public.ticks.shard IS 'single: one of a few rows a minute, so that concurrent triggers need not wait for each other.';

COMMENT ON COLUMN public.ticks.expanded_up_to IS 'The last subscription that was expanded, while the tick is being expanded.';

COMMENT ON COLUMN public.ticks.triggers IS 'How many sends it asked for: each ends in one ledger row, or is counted in skipped_again.';

COMMENT ON COLUMN public.ticks.checked_at IS 'When a daemon last began to check its balance.';

COMMENT ON COLUMN public.ticks.is_checked_off IS 'It was closed when it was checked, and balanced: it is not checked again.';

COMMENT ON COLUMN public.ticks.missing IS 'Triggers that were neither in the ledger nor live when it was last checked; negative: so many were there twice. 0: it was balanced.';

COMMENT ON COLUMN public.ticks.snapshot IS 'The snapshot of the transaction that opened it; null: single, or opened before this was recorded.';

COMMENT ON COLUMN public.ticks.follows IS 'The tick of the same schedule before it, if that was still being sent. Its members are skipped.';

COMMENT ON COLUMN public.ticks.follows_beyond IS 'A tick before those that were still being sent. They skip its members, because it was sent; this tick does not skip them.';

COMMENT ON COLUMN public.ticks.opened_by IS 'The user of the POST-back; null: there was none.';

COMMENT ON COLUMN public.ticks.outcomes IS 'How many rows of each outcome the ledger had for it when it was last counted.';

COMMENT ON COLUMN public.ticks.after_ledger_id IS 'The newest row of the ledger when it was made: later rows have higher ids, whatever the clock says. Null: not known.';

COMMENT ON COLUMN public.ticks.repetition IS 'Of a moment for which the schedule was ticked before: makes the ids of its sends other ones.';

COMMENT ON COLUMN public.ticks.skipped_by IS 'The pauses that skipped ticks when it was opened: members that they concern are skipped.';

COMMENT ON COLUMN public.ticks.stopped_by IS 'The user who stopped it for good; null: nobody has.';

COMMENT ON COLUMN public.ticks.skipped_again IS 'Members without a row in the ledger: they were skipped, and their row of an earlier tick says why.';

COMMENT ON COLUMN public.ticks.skipped_again_since IS 'The first of those earlier ticks.';

CREATE FUNCTION public.is_too_old(tick public.ticks) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether it is too late for the messages of a tick of a schedule. A later tick of the same schedule
-- asks for them again.
SELECT now() - latest_tick(tick.schedule_id, tick.id) > make_interval(secs => max_age)
  FROM schedules WHERE id = tick.schedule_id
$$;

CREATE FUNCTION public.join_schedule() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.joined_xid := pg_current_xact_id();
    NEW.joined_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION public.judge_tick() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- Stops a tick when its brake or its canary says so.
BEGIN
    IF NEW.posted >= NEW.brake_after
       AND 100 * NEW.failed > NEW.brake_percent * NEW.posted THEN
        NEW.hold := 'braked';
    ELSIF NEW.posted >= NEW.canary THEN
        NEW.hold := 'canary';
    ELSE
        RETURN NEW;
    END IF;
    NEW.held_at := now();
    PERFORM pg_notify('sbm_pauses', '');
    RETURN NEW;
END
$$;

CREATE FUNCTION public.keep_message_versions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- The versions that a statement has made. A message that is put back as it was has one already.
BEGIN
    INSERT INTO message_versions (id, message_id, messageset_id, sequence_number, lang,
                                  text_content, file_name, metadata, made_by)
    SELECT m.version_id, m.id, m.messageset_id, m.sequence_number, m.lang, m.text_content,
           b.content, m.metadata, author() ->> 'actor'
      FROM new_messages m LEFT JOIN binary_contents b ON b.id = m.binary_content_id
     ORDER BY m.version_id
        ON CONFLICT (id) DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.key_of_audited(table_name text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $_$
-- The condition for a row whose change can be undone: $1 is its row_id, $2 its values in the audit.
-- Null: changes of this table cannot be undone.
SELECT CASE
    WHEN table_name IN ('binary_contents', 'messages', 'messagesets', 'schedules', 'users')
        THEN 'one.id = $1::integer'
    WHEN table_name = 'subscriptions' THEN 'one.id = $1::uuid'
    WHEN table_name = 'user_permissions'
        THEN 'one.user_id = $1::integer AND one.permission = $2 ->> ''permission'''
END
$_$;

CREATE FUNCTION public.latest_tick(schedule_id integer, since_tick bigint) RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- When the latest tick of a schedule was opened, if it came after another tick.
SELECT created_at + clock_shift(id, created_at) FROM ticks
 WHERE ticks.schedule_id = latest_tick.schedule_id AND source <> 'single' AND state <> 'missed'
   AND id >= since_tick
 ORDER BY id DESC LIMIT 1
$$;

CREATE FUNCTION public.leaves_for(schedule_id integer, messageset_id integer) RETURNS interval
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- How long messages of this set to subscriptions on this schedule may still leave; zero: not now;
-- null: there is no limit. Without a set, the hours of sets do not count.
SELECT LEAST(hours_left(s.send_hours, zone_of(s), now()), hours_left(m.send_hours, zone_of(s), now()))
  FROM (VALUES (1)) one
  LEFT JOIN schedules s ON s.id = leaves_for.schedule_id
  LEFT JOIN messagesets m ON m.id = leaves_for.messageset_id
 WHERE s.send_hours IS NOT NULL OR m.send_hours IS NOT NULL
$$;

CREATE FUNCTION public.lock_audited(table_name text, row_id text, audited jsonb) RETURNS jsonb
    LANGUAGE plpgsql
    AS $$
-- The row as it is now, locked; null: there is none.
DECLARE
    found jsonb;
BEGIN
    EXECUTE format('SELECT to_jsonb(one) FROM %I one WHERE %s FOR UPDATE',
                   table_name, key_of_audited(table_name))
       INTO found USING row_id, audited;
    RETURN found;
END
$$;

CREATE FUNCTION public.lock_due_places(most integer, of_ticks integer, but text[], only_these uuid[], claimer uuid) RETURNS tid[]
    LANGUAGE plpgsql
    SET enable_seqscan TO 'off'
    SET enable_sort TO 'off'
    AS $$
-- Locks up to "most" sends that are due, for a claim in this transaction, and returns their places in
-- the table, which do not change while they are locked.
-- Single sends come first; at most "of_ticks" are of a tick. The queues that are open take turns:
-- each tick (of single sends: each schedule) has an equal share, and its queues divide it; those
-- that have more fill up what is left. So a small tick does not wait for a large one. Rows that
-- another daemon is claiming are skipped, never waited for. Queues that are held back are not read.
-- Sends to the identities in "but" are left.
-- Of a schedule with a rate, a claimer holds as many as may leave in two seconds, so that they do
-- not fill its places. Of a tick that is on probation, only so many are claimed that it is judged
-- before more of it go out; while one daemon claims from it, the others pass it by.
-- What was claimed before stays in the index until a vacuum, in front of what is owed. owed_queues reads
-- it, and nothing else does: each queue is then read from its first send on.
-- A session keeps the plans of these statements. A plan that was made while there were few sends
-- must not read all of them later: so they are planned without sequential scans, and without a sort
-- where an index has the order.
DECLARE
    locked tid[] := '{}';
    taken tid[];
    queues due_queue[];
    lane_queues due_queue[];
    fuller due_queue[];
    queue due_queue;
    probed bigint[];
    room integer;
    quota bigint;
BEGIN
    -- Whoever begins a pause holds this lock alone. Each statement here sees all pauses that were
    -- committed before it, so none that was begun before this claim is missed.
    PERFORM pg_advisory_xact_lock_shared(736266, 5);
    IF only_these IS NOT NULL THEN
        RETURN ARRAY(SELECT ctid FROM sends
                      WHERE id = ANY(only_these) AND state = 'owed' AND due_at <= now()
                        AND hold_of(queue_tick_id, queue_schedule_id, queue_messageset_id) IS NULL
                        FOR UPDATE SKIP LOCKED);
    END IF;
    queues := ARRAY(SELECT ROW(tick_id, schedule_id, messageset_id, due_at, 0, NULL, NULL)::due_queue
                      FROM owed_queues WHERE due_at <= now());
    probed := ARRAY(SELECT tick_id FROM watched_ticks
                     WHERE tick_id IN (SELECT q.tick_id FROM unnest(queues) q)
                       AND hold IS NULL AND (canary IS NOT NULL OR posted < brake_after)
                       FOR UPDATE SKIP LOCKED);
    queues := ARRAY(SELECT ROW(q.tick_id, q.schedule_id, q.messageset_id, q.oldest, 0, s.max_rate,
                               LEAST(w.canary, CASE WHEN w.posted < w.brake_after
                                                    THEN w.brake_after END) - w.posted)::due_queue
                      FROM unnest(queues) q
                      LEFT JOIN schedules s ON s.id = q.schedule_id
                      LEFT JOIN watched_ticks w ON w.tick_id = q.tick_id
                     WHERE hold_of(q.tick_id, q.schedule_id, q.messageset_id) IS NULL
                       AND (w.tick_id IS NULL
                            OR w.canary IS NULL AND COALESCE(w.brake_after, 0) <= w.posted
                            OR w.tick_id = ANY(probed)));
    FOR is_tick IN 0..1 LOOP
        room := LEAST(most - cardinality(locked), CASE is_tick WHEN 1 THEN of_ticks ELSE most END);
        CONTINUE WHEN room < 1;
        -- In turn: the first queue of each group, then the second ones, and so on.
        lane_queues := ARRAY(
            SELECT ROW(tick_id, schedule_id, messageset_id, oldest,
                       ceil(room::numeric / max(place) OVER () / count(*) OVER (PARTITION BY place)),
                       max_rate, probation)::due_queue
              FROM (SELECT *, dense_rank() OVER (ORDER BY tick_id, CASE tick_id WHEN 0
                                                          THEN schedule_id END) AS place
                      FROM unnest(queues) WHERE (tick_id > 0) = (is_tick = 1)) placed
             ORDER BY row_number() OVER (PARTITION BY place ORDER BY oldest), oldest);
        FOR turn IN 1..2 LOOP
            fuller := '{}';
            FOREACH queue IN ARRAY lane_queues LOOP
                EXIT WHEN room < 1;
                quota := LEAST(room, CASE turn WHEN 1 THEN queue.share END);
                IF queue.max_rate IS NOT NULL THEN
                    quota := LEAST(quota, 2 * queue.max_rate::bigint
                        - (SELECT count(*) FROM sends
                            WHERE state = 'claimed' AND owner = claimer
                              AND queue_schedule_id = queue.schedule_id)
                        - (SELECT count(*) FROM sends
                            WHERE ctid = ANY(locked) AND queue_schedule_id = queue.schedule_id));
                END IF;
                IF queue.probation IS NOT NULL THEN
                    quota := LEAST(quota, queue.probation
                        - (SELECT count(*) FROM sends
                            WHERE state = 'claimed' AND queue_tick_id = queue.tick_id)
                        - (SELECT count(*) FROM sends
                            WHERE state = 'unknown' AND queue_tick_id = queue.tick_id)
                        - (SELECT count(*) FROM sends
                            WHERE ctid = ANY(locked) AND queue_tick_id = queue.tick_id));
                END IF;
                CONTINUE WHEN quota < 1;
                taken := ARRAY(SELECT ctid FROM sends
                                WHERE state = 'owed' AND queue_tick_id = queue.tick_id
                                  AND queue_schedule_id = queue.schedule_id
                                  AND queue_messageset_id = queue.messageset_id
                                  AND due_at BETWEEN queue.oldest AND now()
                                  AND identity <> ALL(but)
                                  AND (turn = 1 OR ctid <> ALL(locked))
                                ORDER BY due_at LIMIT quota FOR UPDATE SKIP LOCKED);
                IF cardinality(taken) = quota THEN
                    fuller := fuller || queue;
                END IF;
                locked := locked || taken;
                room := room - cardinality(taken);
            END LOOP;
            lane_queues := fuller;
        END LOOP;
    END LOOP;
    RETURN locked;
END
$$;

CREATE FUNCTION public.lock_due_sends(most integer, of_ticks integer, but text[], only_these uuid[], claimer uuid) RETURNS uuid[]
    LANGUAGE sql
    SET enable_seqscan TO 'off'
    AS $$
-- Locks them, and returns their ids, in the same order.
SELECT ARRAY(SELECT id
               FROM unnest(lock_due_places(most, of_ticks, but, only_these, claimer))
                    WITH ORDINALITY AS locked (place, number)
               JOIN sends ON sends.ctid = place
              ORDER BY number)
$$;

CREATE FUNCTION public.make_partitions(parent text, months_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
-- Makes the partitions of this month and the next ones, in UTC, and moves into them what the
-- default partition holds of those months. Answers how many it made; safe to repeat. They
-- belong to the owner of the table, whoever calls this.
DECLARE
    time_column CONSTANT text := partition_column(parent);
    this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    month_start timestamptz;
    month_end timestamptz;
    partition_name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(736266, 2);
    FOR ahead IN 0..months_ahead LOOP
        month_start := (this_month + make_interval(months => ahead)) AT TIME ZONE 'UTC';
        month_end := (this_month + make_interval(months => ahead + 1)) AT TIME ZONE 'UTC';
        partition_name := parent || to_char(month_start AT TIME ZONE 'UTC', '_YYYY_MM');
        CONTINUE WHEN to_regclass(partition_name) IS NOT NULL;
        -- No row may arrive while they move. Not before it is needed: settling waits meanwhile.
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition_name, parent);
        EXECUTE format(
            'WITH moved AS (DELETE FROM %1$I WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *)'
            ' INSERT INTO %5$I SELECT * FROM moved',
            parent || '_default', time_column, month_start, month_end, partition_name);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            parent, partition_name, month_start, month_end);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$_$;

CREATE FUNCTION public.may_expand(tick public.ticks) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether members of an open tick may be taken now: it is not held back, or all are skipped. A tick
-- that is slowed is expanded a little ahead only, and takes no room from others. If an earlier tick
-- of the schedule was stopped, this one waits until its sends are skipped: then those people are
-- free.
SELECT tick.stopped_by IS NOT NULL
    OR NOT EXISTS (
           SELECT FROM watched_ticks w JOIN ticks before ON before.id = w.tick_id
            WHERE w.hold = 'stopped' AND before.schedule_id = tick.schedule_id
              AND before.id < tick.id
              AND (before.state = 'expanding'
                   OR EXISTS (SELECT FROM sends
                               WHERE sends.state = 'owed' AND queue_tick_id = before.id)))
       AND (was_skipped(tick.skipped_by, NULL)
            OR hold_of(tick.id, tick.schedule_id, NULL) IS NULL
               AND (NOT is_slowed(tick.id, tick.schedule_id)
                    OR (SELECT count(*) FROM (SELECT FROM sends
                                               WHERE state = 'owed' AND queue_tick_id = tick.id
                                               LIMIT 2000) waiting) < 2000))
$$;

CREATE FUNCTION public.member_send_id(moment text, subscription_id uuid) RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- The id of the send that a tick owes to a subscription: the same for each database with this
-- installation id, even if the tick or the send was lost and is made again. moment names the tick.
-- It is a UUID of version 8. A single expression, which PostgreSQL evaluates without a call: it is
-- computed for each member.
SELECT overlay(overlay(
           left(encode(sha256(convert_to(concat_ws(' ', moment, subscription_id), 'UTF8')), 'hex'), 32)
           PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid
$$;

CREATE FUNCTION public.mentions(told text, needles text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
-- Whether a text has one of these in it; they are in lower case.
SELECT EXISTS (SELECT FROM unnest(needles) needle WHERE strpos(lower(told), needle) > 0)
$$;

CREATE FUNCTION public.next_place(of_set integer, of_lang text, from_number bigint) RETURNS TABLE(sequence_number integer, message_id integer, lang text)
    LANGUAGE plpgsql STABLE ROWS 1 PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
-- The first place from this number on; no row: the set has ended.
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT * FROM places(of_set, of_lang) place
                  WHERE place.sequence_number >= from_number
                  ORDER BY place.sequence_number LIMIT 1;
END
$$;

CREATE FUNCTION public.note_content_changes() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- One row for each set and language that a statement has changed, in one order, so that two
-- statements do not wait for each other. A message that is written again as it was is no change.
-- Of a set that is being deleted, there is nothing to note.
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO content_changes (messageset_id, lang, changed_at)
        SELECT messageset_id, lang, clock_timestamp() FROM new_messages
         GROUP BY messageset_id, lang ORDER BY messageset_id, lang
            ON CONFLICT (messageset_id, lang) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO content_changes (messageset_id, lang, changed_at)
        SELECT messageset_id, lang, clock_timestamp() FROM old_messages
         WHERE EXISTS (SELECT FROM messagesets WHERE id = messageset_id)
         GROUP BY messageset_id, lang ORDER BY messageset_id, lang
            ON CONFLICT (messageset_id, lang) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    ELSE
        INSERT INTO content_changes (messageset_id, lang, changed_at)
        SELECT place.messageset_id, place.lang, clock_timestamp()
          FROM old_messages was
          JOIN new_messages is_now ON is_now.id = was.id
           AND (is_now.messageset_id, is_now.lang, is_now.sequence_number, is_now.text_content,
                is_now.binary_content_id, is_now.metadata)
               IS DISTINCT FROM
               (was.messageset_id, was.lang, was.sequence_number, was.text_content,
                was.binary_content_id, was.metadata)
         CROSS JOIN LATERAL (VALUES (was.messageset_id, was.lang),
                                    (is_now.messageset_id, is_now.lang))
               place (messageset_id, lang)
         WHERE EXISTS (SELECT FROM messagesets WHERE id = place.messageset_id)
         GROUP BY place.messageset_id, place.lang ORDER BY place.messageset_id, place.lang
            ON CONFLICT (messageset_id, lang) DO UPDATE SET changed_at = EXCLUDED.changed_at;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.number_message_version() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- Another content is another version, whatever the statement says.
BEGIN
    NEW.version_id := nextval('message_version_id');
    RETURN NEW;
END
$$;

CREATE FUNCTION public.owe_scheduler_call(call_kind text, call_target text) RETURNS void
    LANGUAGE sql
    AS $$
-- One that is owed or being done already is owed again; one that was refused gets another chance,
-- and one that waits may have nothing to wait for any more.
INSERT INTO scheduler_calls AS calls (kind, target) VALUES (call_kind, call_target)
    ON CONFLICT (kind, target) DO UPDATE
   SET revision = calls.revision + 1, faults = 0, fault = '',
       up_to = '00000000-0000-0000-0000-000000000000', waits_for = NULL,
       state = CASE WHEN calls.state IN ('refused', 'waiting') THEN 'owed' ELSE calls.state END,
       due_at = CASE WHEN calls.state = 'refused' THEN now() ELSE calls.due_at END
$$;

CREATE FUNCTION public.owe_scheduler_call_of_schedule() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    mode text := scheduling_mode();
BEGIN
    IF mode = 'schedule' THEN
        PERFORM owe_scheduler_call('schedule', COALESCE(NEW.id, OLD.id)::text);
    ELSIF mode = 'subscription' AND TG_OP = 'UPDATE' THEN
        PERFORM owe_scheduler_call('members', NEW.id::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.owe_scheduler_call_of_subscription() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        -- Not one that is known to be another's.
        INSERT INTO scheduler_schedules (kind, target, remote_id)
        SELECT 'subscription', OLD.id::text, OLD.metadata ->> 'scheduler_schedule_id'
         WHERE OLD.metadata ->> 'scheduler_schedule_id' <> ''
           AND NOT EXISTS (SELECT FROM scheduler_schedules
                            WHERE remote_id = OLD.metadata ->> 'scheduler_schedule_id')
            ON CONFLICT DO NOTHING;
    END IF;
    IF scheduling_mode() = 'subscription' THEN
        PERFORM owe_scheduler_call('subscription', COALESCE(NEW.id, OLD.id)::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.partition_column(parent text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
-- The column by which a table has a partition for each month. Raises an error for other tables.
DECLARE
    found text := (SELECT attname FROM pg_partitioned_table
                     JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0]
                    WHERE partrelid = to_regclass(quote_ident(parent)) AND partstrat = 'r');
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION '% has no partitions of months', parent
              USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN found;
END
$$;

CREATE TABLE public.pauses (
    id bigint NOT NULL,
    kind text NOT NULL,
    daemon uuid,
    reason text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    ended_at timestamp with time zone,
    repaired_at timestamp with time zone,
    seen_at timestamp with time zone,
    outbounds_until timestamp with time zone,
    formerly uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    lane text,
    schedule_id integer,
    messageset_id integer,
    on_ticks text,
    paused_by text,
    until timestamp with time zone,
    paused_at timestamp with time zone,
    ended_by text,
    CONSTRAINT pauses_check CHECK (((kind = 'setting'::text) = (daemon IS NOT NULL))),
    CONSTRAINT pauses_check1 CHECK (((kind = 'operator'::text) = (on_ticks IS NOT NULL))),
    CONSTRAINT pauses_check2 CHECK (((kind = 'operator'::text) OR ((lane IS NULL) AND (schedule_id IS NULL) AND (messageset_id IS NULL)))),
    CONSTRAINT pauses_kind_check CHECK ((kind = ANY (ARRAY['setting'::text, 'restored'::text, 'operator'::text]))),
    CONSTRAINT pauses_lane_check CHECK ((lane = ANY (ARRAY['single'::text, 'tick'::text]))),
    CONSTRAINT pauses_on_ticks_check CHECK ((on_ticks = ANY (ARRAY['later'::text, 'skip'::text])))
);

COMMENT ON TABLE public.pauses IS 'While a pause has not ended, what it concerns is not sent.';

COMMENT ON COLUMN public.pauses.kind IS 'setting: SBM_PAUSED of one daemon; restored: the database went back, which concerns all; operator: a person paused sends.';

COMMENT ON COLUMN public.pauses.daemon IS 'The daemon that it concerns; null: all.';

COMMENT ON COLUMN public.pauses.repaired_at IS 'restored: when `sbm restored` was run to its end; null: not since the pause began.';

COMMENT ON COLUMN public.pauses.seen_at IS 'restored: installation.seen_at when the pause began, which is about the time of the dump.';

COMMENT ON COLUMN public.pauses.outbounds_until IS 'restored: the newest outbound that was looked at, by the clock of the Message Sender. Up to it, outbounds that the database does not know are no evidence any more.';

COMMENT ON COLUMN public.pauses.formerly IS 'restored: the installation ids that daemons had seen before, if they were other ones.';

COMMENT ON COLUMN public.pauses.lane IS 'operator: only sends of this lane; null: of both.';

COMMENT ON COLUMN public.pauses.schedule_id IS 'operator: only sends to subscriptions on this schedule; null: on all.';

COMMENT ON COLUMN public.pauses.messageset_id IS 'operator: only messages of this set; null: of all.';

COMMENT ON COLUMN public.pauses.on_ticks IS 'operator: later: what ticks ask for meanwhile is sent when the pause ends; skip: it is skipped.';

COMMENT ON COLUMN public.pauses.paused_by IS 'operator: who began it.';

COMMENT ON COLUMN public.pauses.until IS 'operator: when it ends by itself; null: a person ends it.';

COMMENT ON COLUMN public.pauses.paused_at IS 'operator: since when no POST of it can begin; null: some of it may be in hand.';

COMMENT ON COLUMN public.pauses.ended_by IS 'operator: who ended it; null: nobody, or it was time.';

CREATE FUNCTION public.pause_covers(pause public.pauses, tick_id bigint, schedule_id integer, messageset_id integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
-- Whether a pause of an operator concerns the sends of a queue; tick_id is 0 for the lane of single
-- sends. Without a message set, whether it concerns those of all sets.
SELECT pause.kind = 'operator'
   AND (pause.lane IS NULL OR pause.lane = CASE WHEN tick_id = 0 THEN 'single' ELSE 'tick' END)
   AND (pause.schedule_id IS NULL OR pause.schedule_id = pause_covers.schedule_id)
   AND (pause.messageset_id IS NULL
        OR COALESCE(pause.messageset_id = pause_covers.messageset_id, false))
$$;

CREATE FUNCTION public.places(of_set integer, of_lang text) RETURNS TABLE(sequence_number integer, message_id integer, lang text)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- The numbers of a set that its readers in a language go through, and the message of each; null: it
-- is not translated, and the reader waits there. By default, only messages in the language count.
-- Otherwise the numbers of all languages do, so that the set ends with the highest of them.
SELECT own.sequence_number, own.id, own.lang
  FROM messagesets JOIN messages own ON own.messageset_id = messagesets.id AND own.lang = of_lang
 WHERE messagesets.id = of_set AND on_missing_translation = 'next'
 UNION ALL
SELECT number.sequence_number, COALESCE(own.id, other.id), COALESCE(own.lang, other.lang)
  FROM messagesets
 CROSS JOIN LATERAL (
       SELECT DISTINCT messages.sequence_number FROM messages
        WHERE messageset_id = messagesets.id) number
  LEFT JOIN messages own ON own.messageset_id = messagesets.id AND own.lang = of_lang
                        AND own.sequence_number = number.sequence_number
  LEFT JOIN messages other ON other.messageset_id = messagesets.id
                          AND on_missing_translation = 'fallback:' || other.lang
                          AND other.sequence_number = number.sequence_number
 WHERE messagesets.id = of_set AND on_missing_translation <> 'next'
$$;

CREATE FUNCTION public.put_back_row(table_name text, before jsonb) RETURNS void
    LANGUAGE plpgsql
    AS $_$
-- Makes a row again that was deleted, with its id.
DECLARE
    columns text;
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
                WHERE attrelid = to_regclass(table_name) AND attname = 'updated_by') THEN
        before := before || jsonb_build_object('updated_by', author_id());
    END IF;
    columns := (SELECT string_agg(quote_ident(key), ', ') FROM jsonb_object_keys(before) key);
    EXECUTE format('INSERT INTO %1$I (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$I, $1)',
                   table_name, columns)
      USING before;
END
$_$;

CREATE FUNCTION public.queue_send() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- Puts a send that becomes owed into its queue. It was surely not sent, so that nobody has to ask
-- about it: of a person who was forgotten, nothing is left in it.
BEGIN
    SELECT s.schedule_id,
           CASE WHEN NEW.kind = 'resend' THEN COALESCE(NEW.messageset_id, s.messageset_id)
                ELSE s.messageset_id END
      INTO NEW.queue_schedule_id, NEW.queue_messageset_id
      FROM subscriptions s WHERE s.id = NEW.subscription_id;
    NEW.queue_schedule_id := COALESCE(NEW.queue_schedule_id, 0);
    NEW.queue_messageset_id := COALESCE(NEW.queue_messageset_id, 0);
    IF NEW.asked_identity IS NOT NULL THEN
        NEW.asked_identity := NULL;
        NEW.reason := '';
        NEW.answers := '{}';
    END IF;
    RETURN NEW;
END
$$;

CREATE FUNCTION public.reason_kind(kind text, outcome text, stage text, reason text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
-- Why a message was not sent, as one of a few kinds; null: it was sent. Indexes are built with it: if
-- it changes, they have to be built again.
SELECT CASE
       WHEN outcome IN ('sent', 'adopted', 'dry-run') THEN NULL
       WHEN kind = 'move' THEN 'moved'
       WHEN reason = 'it was paused when the tick came' THEN 'paused'
       WHEN reason = 'it is older than max_age' THEN 'too-old'
       WHEN outcome = 'skipped' AND reason LIKE 'stopped by %' THEN 'stopped'
       WHEN reason IN ('the tick before it was still being sent',
                       'a message is already owed to the subscription',
                       'a resend is already owed to the subscription',
                       'the Message Sender had the message of this tick already') THEN 'already-owed'
       WHEN reason LIKE 'the subscription is completed%' THEN 'completed'
       WHEN reason LIKE 'the subscription is not active%' THEN 'inactive'
       WHEN reason LIKE 'the subscription is in error%' THEN 'in-error'
       WHEN reason LIKE 'the subscription was deleted%' THEN 'deleted'
       WHEN stage = 'content' AND reason LIKE 'message % is missing in %: the subscription waits for it'
       THEN 'no-translation'
       WHEN stage = 'content' AND reason LIKE '% has no message in %' THEN 'no-language'
       WHEN stage = 'content' AND reason LIKE '% has no further message in %' THEN 'at-end'
       WHEN stage = 'content' THEN 'content'
       WHEN stage = 'address' THEN 'no-address'
       WHEN stage = 'post' AND outcome = 'refused' THEN 'refused'
       WHEN stage = 'post' THEN 'failed'
       ELSE 'other' END
$$;

CREATE FUNCTION public.renew_message_versions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- All messages with this file have another content now.
BEGIN
    UPDATE messages SET version_id = nextval('message_version_id')
     WHERE binary_content_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.requeue_send() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
-- A subscription moved to another schedule or set: what is owed to it moves to another queue.
BEGIN
    UPDATE sends
       SET queue_schedule_id = NEW.schedule_id,
           queue_messageset_id = CASE WHEN kind = 'resend' THEN queue_messageset_id
                                      ELSE NEW.messageset_id END
     WHERE subscription_id = NEW.id AND state = 'owed';
    RETURN NULL;
END
$$;

CREATE FUNCTION public.reserve_moments(of_schedule integer, schedule_rate integer, overall_rate integer, wanted integer, soonest interval, ahead interval) RETURNS TABLE(now double precision, first_at double precision, spacing double precision, count integer)
    LANGUAGE plpgsql
    AS $$
-- Reserves the next moments at which messages of a schedule may leave, at most "wanted", and none
-- sooner than "soonest" (before that, the answer may not have come) or later than "ahead": what time
-- it is, the first moment, the time between two, and how many. Times
-- are in Unix time. All daemons reserve here, so that no two have the same moment. A row that is far
-- ahead was written by a wrong clock.
DECLARE
    moment timestamptz;
    first_moment timestamptz;
    row_at timestamptz;
BEGIN
    INSERT INTO paces (schedule_id, next_at)
    SELECT scope, clock_timestamp() FROM unnest(ARRAY[0, of_schedule]) scope
        ON CONFLICT DO NOTHING;
    PERFORM FROM paces WHERE schedule_id IN (0, of_schedule) ORDER BY schedule_id FOR UPDATE;
    moment := clock_timestamp();
    first_moment := moment + soonest;
    FOR row_at IN SELECT next_at FROM paces
                   WHERE schedule_id = of_schedule AND schedule_rate IS NOT NULL
                      OR schedule_id = 0 AND overall_rate IS NOT NULL LOOP
        IF row_at < moment + interval '10 seconds' THEN
            first_moment := GREATEST(first_moment, row_at);
        END IF;
    END LOOP;
    spacing := GREATEST(1.0 / schedule_rate, 1.0 / overall_rate);
    now := EXTRACT(epoch FROM moment);
    first_at := EXTRACT(epoch FROM first_moment);
    count := CASE WHEN first_moment > moment + ahead THEN 0
                  ELSE LEAST(wanted, 1 + floor(EXTRACT(epoch FROM moment + ahead - first_moment)
                                               / spacing)) END;
    UPDATE paces
       SET next_at = CASE schedule_id
                     WHEN 0 THEN GREATEST(CASE WHEN next_at < moment + interval '10 seconds'
                                               THEN next_at END, moment + soonest)
                                 + make_interval(secs => count::double precision / overall_rate)
                     ELSE first_moment + make_interval(secs => count::double precision
                                                           / schedule_rate) END
     WHERE count > 0 AND (schedule_id = of_schedule AND schedule_rate IS NOT NULL AND schedule_id > 0
                          OR schedule_id = 0 AND overall_rate IS NOT NULL);
    RETURN NEXT;
END
$$;

CREATE FUNCTION public.rule_of_next_tick(schedule public.schedules, version text, default_time_zone text) RETURNS text
    LANGUAGE sql STABLE
    AS $$
-- The rule by which the next tick of the built-in clock is computed. The first version has no name.
SELECT concat_ws(' ', version, schedule.minute, schedule.hour, schedule.day_of_month,
                 schedule.month_of_year, schedule.day_of_week,
                 COALESCE(schedule.time_zone, default_time_zone))
$$;

CREATE FUNCTION public.scheduling_mode() RETURNS text
    LANGUAGE sql STABLE
    AS $$
-- What a daemon has said on its own connection; else what the last one that was started has said.
SELECT COALESCE(NULLIF(current_setting('sbm.scheduling', true), ''), mode) FROM scheduling
$$;

CREATE FUNCTION public.send_digest(send_id uuid) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
-- As forgotten_sends has it.
SELECT sha256(uuid_send(send_id))
$$;

CREATE FUNCTION public.short_cron_field(numbers integer[], lowest integer, highest integer, most integer) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
-- A field of at most so many characters that means these numbers, none above 62. Null: none found.
-- Which terms are the fewest is a hard question (set cover). Again and again the one is added that
-- means many numbers that are missing, for its length; how much "many" counts is tried out.
DECLARE
    wanted bigint := (SELECT bit_or(1::bigint << n) FROM unnest(numbers) n);
    missing bigint;
    terms text[];
    meant bigint[];
    weight float;
    chosen integer[];
    best integer;
    told text;
BEGIN
    SELECT array_agg(term ORDER BY term), array_agg(mask ORDER BY term) INTO terms, meant
      FROM (SELECT CASE WHEN first = last THEN first::text
                        WHEN first = lowest AND last + step > highest
                        THEN '*' || CASE WHEN step > 1 THEN '/' || step ELSE '' END
                        ELSE first || '-' || last || CASE WHEN step > 1 THEN '/' || step ELSE '' END
                   END AS term, mask
              FROM (SELECT first, last, step,
                           bit_or(1::bigint << last) OVER (PARTITION BY first, step ORDER BY last)
                               AS mask
                      FROM unnest(numbers) first, generate_series(1, highest) step,
                           generate_series(first, highest, step) last) progressions
             WHERE mask & ~wanted = 0) candidates;
    FOREACH weight IN ARRAY ARRAY[1.2, 1, 1.5, 0.8, 1.1, 1.3] LOOP
        missing := wanted;
        chosen := '{}';
        WHILE missing <> 0 LOOP
            SELECT n INTO best FROM generate_subscripts(terms, 1) n
             ORDER BY power(bit_count((meant[n] & missing)::bit(64)), weight)
                      / (length(terms[n]) + 1) DESC, n
             LIMIT 1;
            chosen := chosen || best;
            missing := missing & ~meant[best];
        END LOOP;
        -- Others may have made one needless that came before them.
        FOREACH best IN ARRAY ARRAY(SELECT n FROM unnest(chosen) n ORDER BY length(terms[n]) DESC, n)
        LOOP
            IF (SELECT bit_or(meant[n]) FROM unnest(chosen) n WHERE n <> best) = wanted THEN
                chosen := array_remove(chosen, best);
            END IF;
        END LOOP;
        told := (SELECT string_agg(terms[n], ',' ORDER BY meant[n] & -meant[n], n)
                   FROM unnest(chosen) n);
        IF char_length(told) <= most THEN
            RETURN told;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE FUNCTION public.silence_of(ids uuid[], never integer[]) RETURNS TABLE(subscription_id uuid, cause text)
    LANGUAGE sql STABLE
    AS $$
-- Why no tick reaches each of these subscriptions that is active; null: one does. never are the
-- schedules whose fields are never due. All but errors and calls for single subscriptions is decided
-- once for each set, language, number and schedule. Beyond the end of a set, the next tick completes
-- a subscription, so it is reached.
WITH members AS MATERIALIZED (
    SELECT s.id, s.messageset_id, s.lang, s.next_sequence_number, s.schedule_id,
           s.process_status < 0 AS is_in_error
      FROM subscriptions s WHERE s.id = ANY(ids) AND s.active AND NOT s.completed
), judged AS MATERIALIZED (
    SELECT grouped.*,
           CASE WHEN NOT EXISTS (SELECT FROM messages m
                                  WHERE m.messageset_id = grouped.messageset_id) THEN 'empty-set'
                WHEN NOT EXISTS (SELECT FROM places(grouped.messageset_id, grouped.lang))
                THEN 'language'
                WHEN (SELECT message_id IS NULL
                        FROM next_place(grouped.messageset_id, grouped.lang,
                                        grouped.next_sequence_number)) THEN 'translation'
                WHEN schedule_id = ANY(never) THEN 'schedule'
                WHEN mode = 'schedule' AND NOT is_told('schedule', schedule_id::text)
                THEN 'scheduler' END AS cause,
           mode = 'subscription' AND NOT is_told('members', schedule_id::text) AS is_told_singly,
           EXISTS (SELECT FROM pauses
                    WHERE ended_at IS NULL
                      AND (kind = 'restored'
                           OR pause_covers(pauses, 1, grouped.schedule_id,
                                           grouped.messageset_id))) AS is_paused
      FROM (SELECT DISTINCT messageset_id, lang, next_sequence_number, schedule_id
              FROM members) grouped
      LEFT JOIN scheduling ON true
)
SELECT members.id,
       CASE WHEN is_in_error THEN 'error'
            WHEN cause IS NOT NULL THEN cause
            WHEN is_told_singly AND NOT is_told('subscription', members.id::text) THEN 'scheduler'
            WHEN is_paused THEN 'paused' END
  FROM members JOIN judged USING (messageset_id, lang, next_sequence_number, schedule_id)
$$;

CREATE FUNCTION public.skipped_before(members uuid[], of_tick bigint, of_schedule integer) RETURNS TABLE(member uuid, since bigint)
    LANGUAGE plpgsql STABLE ROWS 2000 PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
-- Those members of a tick whose last row of the ledger says that an earlier tick of the schedule met
-- their message unfinished, and to whom nothing is owed by a later one; and that earlier tick. The
-- time limits the search: after a day, a new row is written. (It is a function because its partitions
-- are planned only if there is somebody to look up.)
BEGIN
    IF cardinality(members) > 0 THEN
        RETURN QUERY
        SELECT given.id, last.told
          FROM unnest(members) AS given (id) CROSS JOIN LATERAL (
               SELECT max(tick_id) AS tick_id,
                      max(tick_id) FILTER (WHERE outcome = 'skipped' AND tells_unfinished(reason))
                          AS told
                 FROM ledger
                WHERE ledger.subscription_id = given.id AND settled_at >= now() - interval '1 day'
                  AND kind = 'next' AND ledger.tick_id < of_tick
               OFFSET 0) last
         WHERE last.told = last.tick_id
           AND (SELECT schedule_id FROM ticks WHERE ticks.id = last.told) = of_schedule
           AND NOT EXISTS (SELECT FROM sends
                            WHERE sends.subscription_id = given.id AND kind = 'next'
                              AND sends.tick_id > last.told OFFSET 0);
    END IF;
END
$$;

CREATE FUNCTION public.tells_unfinished(reason text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
-- Whether a tick skipped a member because the message before was not finished.
SELECT reason IN ('the tick before it was still being sent',
                  'a message is already owed to the subscription',
                  'another tick was sent to the subscription since it came')
$$;

CREATE FUNCTION public.tick_covers(seen pg_snapshot, opened_at timestamp with time zone, joined_xid xid8, joined_at timestamp with time zone, created_at timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether a tick, by its snapshot and the time it was opened, covers a subscription that is a
-- member now: it was one, and committed, when the tick was opened. A snapshot, or a transaction,
-- that is ahead of all of this server's came with the data of another server; so did a transaction
-- that the snapshot does not have, though it is a day older than the tick. Without a snapshot, the
-- times have to do. A time that lies in the future was told by a wrong clock: such a tick was opened
-- by now, and such a subscription is one that it covers. The time of the statement is compared: the
-- transaction may have begun before the one in which the subscription joined.
SELECT CASE WHEN pg_snapshot_xmax(seen) <= pg_snapshot_xmax(pg_current_snapshot())
            THEN joined_xid IS NULL OR pg_visible_in_snapshot(joined_xid, seen)
                 OR joined_at < LEAST(opened_at, now()) - interval '1 day'
                 OR joined_xid >= pg_snapshot_xmax(pg_current_snapshot())
            ELSE COALESCE(joined_at, created_at) <= opened_at
                 OR COALESCE(joined_at, created_at) > statement_timestamp() END
$$;

CREATE FUNCTION public.tidy_cron_field(field text) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
-- Without blanks, * for an empty one. These are the blanks that Python knows.
SELECT COALESCE(NULLIF(regexp_replace(field,
    '[\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]', '', 'g'),
    ''), '*')
$$;

CREATE FUNCTION public.told_cron_field(name text, field text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $_$
-- The field in words that the Scheduler understands, as it is where it can be. Null: there are none.
DECLARE
    tidy text := tidy_cron_field(field);
    numbers integer[] := cron_numbers(name, tidy);
    lowest integer := CASE WHEN name IN ('day_of_month', 'month_of_year') THEN 1 ELSE 0 END;
    highest integer := CASE name WHEN 'minute' THEN 59 WHEN 'hour' THEN 23
                                 WHEN 'day_of_month' THEN 31 WHEN 'month_of_year' THEN 12
                                 WHEN 'day_of_week' THEN 7 END;
    told text := regexp_replace(
        tidy, '(^|,)([0-9]+)/([0-9]+)', '\1\2-' || highest || '/\3', 'g');
BEGIN
    IF numbers IS NULL THEN
        RETURN NULL;
    END IF;
    IF name = 'day_of_week' AND told ~ '(^|[,-])0*7([,/-]|$)' THEN
        told := CASE cardinality(numbers) WHEN 7 THEN '*' ELSE array_to_string(numbers, ',') END;
    END IF;
    IF char_length(told) > 64 THEN
        told := short_cron_field(numbers, lowest, highest, 64);
    END IF;
    RETURN told;
END
$_$;

CREATE FUNCTION public.unlinked_id(secret text, former uuid) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
-- The id that replaces this one in all rows: without the secret, which is not stored, neither leads
-- to the other.
SELECT member_send_id(secret, former)
$$;

CREATE FUNCTION public.was_sent_of(subscription_id uuid, messageset_id integer) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
-- Whether a message of this set was sent to the subscription from here. An imported one may have
-- been there for years; it does not go on to the next set when it is found at the end.
BEGIN
    RETURN EXISTS (
        SELECT FROM ledger
         WHERE ledger.subscription_id = was_sent_of.subscription_id
           AND ledger.messageset_id = was_sent_of.messageset_id
           AND kind = 'next' AND (outcome IN ('sent', 'adopted', 'dry-run') OR is_assumed));
END
$$;

CREATE FUNCTION public.was_skipped(skipped_by bigint[], messageset_id integer) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
-- Whether the pauses that skipped a tick concern members of this message set; null: all of them.
SELECT CASE WHEN skipped_by IS NULL THEN false
            ELSE EXISTS (SELECT FROM pauses
                          WHERE id = ANY(skipped_by)
                            AND (pauses.messageset_id IS NULL
                                 OR pauses.messageset_id = was_skipped.messageset_id)) END
$$;

CREATE FUNCTION public.was_stopped(of_tick bigint, stopper text, opened_at timestamp with time zone, member uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET enable_seqscan TO 'off'
    AS $$
-- Whether a member of a tick got nothing because this person stopped the tick.
BEGIN
    RETURN EXISTS (
        SELECT FROM ledger
         WHERE ledger.subscription_id = member AND settled_at >= opened_at - interval '1 day'
           AND tick_id = of_tick AND outcome = 'skipped' AND reason = 'stopped by ' || stopper);
END
$$;

CREATE FUNCTION public.zone_of(schedule public.schedules) RETURNS text
    LANGUAGE sql STABLE
    AS $$
-- The time zone of a schedule, as TimeZones.of says it.
SELECT CASE WHEN schedule.time_zone IS NULL THEN scheduling.time_zone
            ELSE COALESCE(scheduler_time_zone, schedule.time_zone) END
  FROM scheduling
$$;

CREATE TABLE public.audio_copies (
    name text NOT NULL,
    size bigint NOT NULL,
    seen_by uuid NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    copied_by uuid,
    copied_at timestamp with time zone,
    CONSTRAINT audio_copies_check CHECK (((copied_by IS NULL) = (copied_at IS NULL)))
);

COMMENT ON TABLE public.audio_copies IS 'The files that the voice vendor had when that was last looked at.';

COMMENT ON COLUMN public.audio_copies.name IS 'The name of the file, here and there.';

COMMENT ON COLUMN public.audio_copies.size IS 'Its size there, in bytes.';

COMMENT ON COLUMN public.audio_copies.seen_by IS 'The task that found it there, or put it there.';

COMMENT ON COLUMN public.audio_copies.copied_by IS 'The task that put it there; null: it was there before.';

CREATE SEQUENCE public.audit_entry_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.audit (
    id bigint DEFAULT nextval('public.audit_entry_id'::regclass) CONSTRAINT audit_id_not_null1 NOT NULL,
    done_at timestamp with time zone DEFAULT now() CONSTRAINT audit_done_at_not_null1 NOT NULL,
    actor text CONSTRAINT audit_actor_not_null1 NOT NULL,
    user_id integer,
    action text NOT NULL,
    reason text DEFAULT ''::text CONSTRAINT audit_reason_not_null1 NOT NULL,
    request_id text,
    table_name text,
    row_id text,
    operation text,
    before jsonb,
    after jsonb,
    details jsonb DEFAULT '{}'::jsonb CONSTRAINT audit_details_not_null1 NOT NULL,
    identity text,
    undoes bigint,
    transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT audit_actor_check CHECK (((char_length(actor) >= 1) AND (char_length(actor) <= 200))),
    CONSTRAINT audit_operation_check CHECK ((operation = ANY (ARRAY['insert'::text, 'update'::text, 'delete'::text]))),
    CONSTRAINT audit_row_check CHECK ((((operation IS NULL) = (table_name IS NULL)) AND ((operation IS NULL) = (row_id IS NULL))))
)
PARTITION BY RANGE (done_at);

COMMENT ON TABLE public.audit IS 'The changes by the API and by commands. A row tells of one changed row, or of a whole command.';

COMMENT ON COLUMN public.audit.actor IS 'The name of the user. Of a command: as given by --by, or else the user of the machine.';

COMMENT ON COLUMN public.audit.user_id IS 'The user of the API; null: a command, or the Scheduler.';

COMMENT ON COLUMN public.audit.action IS 'The request, or the command.';

COMMENT ON COLUMN public.audit.request_id IS 'X-Request-ID of the request, which a client may have chosen; each run of a command has one, too.';

COMMENT ON COLUMN public.audit.operation IS 'What was done to the row; null: the entry tells of a command.';

COMMENT ON COLUMN public.audit.before IS 'The row before, without secrets; of an update, only the columns that differ.';

COMMENT ON COLUMN public.audit.after IS 'The row after, in the same way.';

COMMENT ON COLUMN public.audit.details IS 'Of a command: counts, ids, and the values before.';

COMMENT ON COLUMN public.audit.identity IS 'The identity, if the change concerns one person.';

COMMENT ON COLUMN public.audit.undoes IS 'The entry whose change this one undoes.';

COMMENT ON COLUMN public.audit.transaction_id IS 'The transaction of the change.';

CREATE TABLE public.audit_default (
    id bigint DEFAULT nextval('public.audit_entry_id'::regclass) CONSTRAINT audit_id_not_null1 NOT NULL,
    done_at timestamp with time zone DEFAULT now() CONSTRAINT audit_done_at_not_null1 NOT NULL,
    actor text CONSTRAINT audit_actor_not_null1 NOT NULL,
    user_id integer,
    action text CONSTRAINT audit_action_not_null NOT NULL,
    reason text DEFAULT ''::text CONSTRAINT audit_reason_not_null1 NOT NULL,
    request_id text,
    table_name text,
    row_id text,
    operation text,
    before jsonb,
    after jsonb,
    details jsonb DEFAULT '{}'::jsonb CONSTRAINT audit_details_not_null1 NOT NULL,
    identity text,
    undoes bigint,
    transaction_id xid8 DEFAULT pg_current_xact_id() CONSTRAINT audit_transaction_id_not_null NOT NULL,
    CONSTRAINT audit_actor_check CHECK (((char_length(actor) >= 1) AND (char_length(actor) <= 200))),
    CONSTRAINT audit_operation_check CHECK ((operation = ANY (ARRAY['insert'::text, 'update'::text, 'delete'::text]))),
    CONSTRAINT audit_row_check CHECK ((((operation IS NULL) = (table_name IS NULL)) AND ((operation IS NULL) = (row_id IS NULL))))
);

CREATE TABLE public.behind_subscriptions (
    id integer NOT NULL,
    subscription_id uuid NOT NULL,
    messages_behind integer NOT NULL,
    current_messageset_id integer NOT NULL,
    current_sequence_number integer NOT NULL,
    expected_messageset_id integer NOT NULL,
    expected_sequence_number integer NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE public.behind_subscriptions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.behind_subscriptions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.binary_contents (
    id integer NOT NULL,
    content text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT binary_contents_content_check CHECK (((char_length(content) >= 1) AND (char_length(content) <= 100)))
);

COMMENT ON COLUMN public.binary_contents.content IS 'The name of the file below the media folder.';

ALTER TABLE public.binary_contents ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.binary_contents_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.clock_jumps (
    id bigint NOT NULL,
    size interval NOT NULL,
    earliest_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    doubted_until timestamp with time zone NOT NULL,
    last_tick_id bigint NOT NULL
);

COMMENT ON TABLE public.clock_jumps IS 'When a daemon saw that this server''s clock had been set, or that this is another server. All times are those of the clock as it was after the jump.';

COMMENT ON COLUMN public.clock_jumps.size IS 'By how much the clock went on more than time did; negative: it was set back.';

COMMENT ON COLUMN public.clock_jumps.earliest_at IS 'It jumped after this moment, and before seen_at.';

COMMENT ON COLUMN public.clock_jumps.doubted_until IS 'Until then no daemon concludes anything from the time that has passed.';

COMMENT ON COLUMN public.clock_jumps.last_tick_id IS 'The newest tick when the jump was seen. Ticks with higher ids were made after it.';

ALTER TABLE public.clock_jumps ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.clock_jumps_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.clock_readings (
    machine text NOT NULL,
    uptime double precision NOT NULL,
    lowest double precision NOT NULL,
    highest double precision NOT NULL,
    jump_id bigint NOT NULL,
    read_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.clock_readings IS 'The distance between this server''s clock and the uptime of each machine that daemons run on, so that a daemon that was not there sees that the clock has jumped.';

COMMENT ON COLUMN public.clock_readings.machine IS 'The machine since its last start: its uptime begins anew with the next one.';

COMMENT ON COLUMN public.clock_readings.lowest IS 'Unix time less uptime, in seconds: at least this, and at most highest.';

COMMENT ON COLUMN public.clock_readings.jump_id IS 'The last of clock_jumps that was known then; 0: none.';

CREATE TABLE public.console_links (
    digest bytea NOT NULL,
    user_id integer NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT console_links_digest_check CHECK ((octet_length(digest) = 32))
);

COMMENT ON TABLE public.console_links IS 'Links that log in once, as the sandbox prints one.';

COMMENT ON COLUMN public.console_links.digest IS 'SHA-256 of the secret in the link, which is not stored.';

CREATE TABLE public.console_sessions (
    id bigint NOT NULL,
    digest bytea NOT NULL,
    user_id integer NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone DEFAULT now() NOT NULL,
    address text NOT NULL,
    browser text NOT NULL,
    CONSTRAINT console_sessions_digest_check CHECK ((octet_length(digest) = 32))
);

COMMENT ON TABLE public.console_sessions IS 'Who is logged in to the console. To revoke one is to delete it.';

COMMENT ON COLUMN public.console_sessions.digest IS 'SHA-256 of the secret in the cookie, which is not stored.';

COMMENT ON COLUMN public.console_sessions.used_at IS 'Right to the minute.';

COMMENT ON COLUMN public.console_sessions.address IS 'From which address the user logged in.';

COMMENT ON COLUMN public.console_sessions.browser IS 'As the browser calls itself.';

ALTER TABLE public.console_sessions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.console_sessions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.content_changes (
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    changed_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.content_changes IS 'When the messages of a set in a language last changed: written by triggers on messages.';

CREATE TABLE public.daemons (
    id uuid NOT NULL,
    role text NOT NULL,
    version text NOT NULL,
    commit text DEFAULT ''::text NOT NULL,
    host text NOT NULL,
    pid bigint NOT NULL,
    since timestamp with time zone NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    pause text DEFAULT ''::text NOT NULL,
    services jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT daemons_role_check CHECK ((role = ANY (ARRAY['all'::text, 'api'::text, 'pipeline'::text])))
);

COMMENT ON TABLE public.daemons IS 'The daemons that live: each writes its row every few seconds, and deletes it when it stops.';

COMMENT ON COLUMN public.daemons.id IS 'sends.owner of its claims.';

COMMENT ON COLUMN public.daemons.commit IS 'The commit that it was built from; empty: not known.';

COMMENT ON COLUMN public.daemons.seen_at IS 'When it last wrote the row. If that was a minute ago, it does not live any more, or does not reach the database.';

COMMENT ON COLUMN public.daemons.pause IS 'Why it does no work by itself; empty: it works.';

COMMENT ON COLUMN public.daemons.services IS 'The services that it calls: whether each is away for it, why, and when it is tried again.';

CREATE TABLE public.deliveries (
    settled_at timestamp with time zone NOT NULL,
    ledger_id bigint NOT NULL,
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    delivered boolean NOT NULL,
    attempts integer,
    nack_reason text,
    looked_at timestamp with time zone DEFAULT now() NOT NULL,
    is_final boolean NOT NULL
)
PARTITION BY RANGE (settled_at);

COMMENT ON TABLE public.deliveries IS 'What the Message Sender says about outbounds: a row for a row of the ledger, by its key.';

COMMENT ON COLUMN public.deliveries.attempts IS 'How often the Message Sender has tried.';

COMMENT ON COLUMN public.deliveries.nack_reason IS 'Why the network has refused it, if it has.';

COMMENT ON COLUMN public.deliveries.is_final IS 'It is not looked at again.';

CREATE TABLE public.deliveries_default (
    settled_at timestamp with time zone CONSTRAINT deliveries_settled_at_not_null NOT NULL,
    ledger_id bigint CONSTRAINT deliveries_ledger_id_not_null NOT NULL,
    messageset_id integer CONSTRAINT deliveries_messageset_id_not_null NOT NULL,
    lang text CONSTRAINT deliveries_lang_not_null NOT NULL,
    delivered boolean CONSTRAINT deliveries_delivered_not_null NOT NULL,
    attempts integer,
    nack_reason text,
    looked_at timestamp with time zone DEFAULT now() CONSTRAINT deliveries_looked_at_not_null NOT NULL,
    is_final boolean CONSTRAINT deliveries_is_final_not_null NOT NULL
);

CREATE TABLE public.delivery_counts (
    id bigint NOT NULL,
    day date NOT NULL,
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    seen bigint DEFAULT 0 NOT NULL,
    delivered bigint DEFAULT 0 NOT NULL,
    final bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE public.delivery_counts IS 'Rows of deliveries, by the day of settled_at in UTC.';

COMMENT ON COLUMN public.delivery_counts.seen IS 'How many were looked at.';

COMMENT ON COLUMN public.delivery_counts.final IS 'How many of them are not looked at again.';

ALTER TABLE public.delivery_counts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.delivery_counts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.delivery_places (
    look text NOT NULL,
    place timestamp with time zone,
    owner uuid,
    lease_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT delivery_places_look_check CHECK ((look = ANY (ARRAY['first'::text, 'last'::text])))
);

COMMENT ON TABLE public.delivery_places IS 'How far the outbounds of the Message Sender were looked at.';

COMMENT ON COLUMN public.delivery_places.place IS 'By the clock of the Message Sender. Null: not begun; what was sent before that is not looked at.';

CREATE TABLE public.doubles (
    id bigint NOT NULL,
    send_id uuid NOT NULL,
    outbound_id text NOT NULL,
    subscription_id uuid NOT NULL,
    noticed_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.doubles IS 'Outbounds in the Message Sender beside the one that the ledger names for the send.';

ALTER TABLE public.doubles ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.doubles_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.estimated_sends (
    id integer NOT NULL,
    send_date date NOT NULL,
    messageset_id integer NOT NULL,
    estimate_subscriptions integer NOT NULL,
    estimate_identities integer NOT NULL
);

COMMENT ON COLUMN public.estimated_sends.send_date IS 'For each schedule, the day in its own time zone.';

ALTER TABLE public.estimated_sends ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.estimated_sends_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.failed_tasks (
    id integer NOT NULL,
    send_id uuid NOT NULL,
    kind text NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    subscription_id uuid NOT NULL,
    identity text NOT NULL,
    initiated_at timestamp with time zone NOT NULL,
    failed_at timestamp with time zone DEFAULT now() NOT NULL,
    attempt integer NOT NULL,
    first_attempt_at timestamp with time zone,
    messageset_id integer,
    next_sequence_number integer,
    sequence_number integer,
    lang text,
    message_id integer,
    CONSTRAINT failed_tasks_kind_check CHECK ((kind = ANY (ARRAY['next'::text, 'resend'::text]))),
    CONSTRAINT failed_tasks_stage_check CHECK ((stage = ANY (ARRAY['trigger'::text, 'content'::text, 'address'::text, 'post'::text])))
);

COMMENT ON COLUMN public.failed_tasks.initiated_at IS 'When it was first attempted.';

COMMENT ON COLUMN public.failed_tasks.next_sequence_number IS 'The place of the subscription when the send was claimed. It is requeued only if the subscription is still there.';

ALTER TABLE public.failed_tasks ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.failed_tasks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.forgotten_sends (
    digest bytea NOT NULL,
    forgotten_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT forgotten_sends_digest_check CHECK ((octet_length(digest) = 32))
);

COMMENT ON TABLE public.forgotten_sends IS 'Sends of people who were forgotten: the Message Sender may still have their outbounds, which are no evidence that this database lost anything.';

COMMENT ON COLUMN public.forgotten_sends.digest IS 'SHA-256 of the id of the send.';

CREATE TABLE public.idempotency_keys (
    request bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    user_id integer,
    path text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    received_at timestamp with time zone,
    CONSTRAINT idempotency_keys_fingerprint_check CHECK ((octet_length(fingerprint) = 32)),
    CONSTRAINT idempotency_keys_key_check CHECK (((char_length(key) >= 1) AND (char_length(key) <= 255))),
    CONSTRAINT idempotency_keys_request_check CHECK ((octet_length(request) = 32)),
    CONSTRAINT idempotency_keys_status_check CHECK (((status >= 200) AND (status <= 299)))
);

COMMENT ON TABLE public.idempotency_keys IS 'Requests with a key that were done, and their answers.';

COMMENT ON COLUMN public.idempotency_keys.request IS 'SHA-256 of user, key and path: a path may be longer than an index takes.';

COMMENT ON COLUMN public.idempotency_keys.user_id IS 'The user of the key; null: the Scheduler.';

COMMENT ON COLUMN public.idempotency_keys.fingerprint IS 'SHA-256 of the body that came with the key.';

COMMENT ON COLUMN public.idempotency_keys.received_at IS 'By the clock of the daemon that received it.';

CREATE TABLE public.installation (
    is_only_row boolean DEFAULT true NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    beat bigint DEFAULT 0 NOT NULL,
    seen_at timestamp with time zone,
    cluster text,
    timeline bigint,
    ask_first_until timestamp with time zone,
    posts_end_at timestamp with time zone,
    CONSTRAINT installation_is_only_row_check CHECK (is_only_row)
);

COMMENT ON TABLE public.installation IS 'The identity of this database for the Message Sender, and how far the daemons have come.';

COMMENT ON COLUMN public.installation.id IS 'metadata.sbm_installation_id of each outbound.';

COMMENT ON COLUMN public.installation.beat IS 'Grows every few seconds while a daemon works. If it is smaller than one that a daemon has seen, the database went back.';

COMMENT ON COLUMN public.installation.seen_at IS 'When the beat last grew.';

COMMENT ON COLUMN public.installation.cluster IS 'The system identifier of the server that a daemon last accepted.';

COMMENT ON COLUMN public.installation.timeline IS 'The timeline of that server.';

COMMENT ON COLUMN public.installation.ask_first_until IS 'The Message Sender is asked about the sends of ticks that were due before this, before they are sent: the database had lost what it knew of them.';

COMMENT ON COLUMN public.installation.posts_end_at IS 'Until then, a daemon whose claim was lost may begin to post.';

CREATE SEQUENCE public.intake_entry_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.intake (
    id bigint DEFAULT nextval('public.intake_entry_id'::regclass) NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    outcome text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    fields text[] DEFAULT '{}'::text[] NOT NULL,
    caller text NOT NULL,
    user_id integer,
    action text NOT NULL,
    request_id text,
    idempotency_key text,
    identity text,
    subscription_id uuid,
    payload jsonb,
    CONSTRAINT intake_outcome_check CHECK ((outcome = ANY (ARRAY['created'::text, 'replayed'::text, 'twin'::text, 'refused'::text]))),
    CONSTRAINT intake_reason_check CHECK (((outcome = 'refused'::text) = (reason <> ''::text)))
)
PARTITION BY RANGE (received_at);

COMMENT ON TABLE public.intake IS 'The account of requests for subscriptions: each one that was authenticated ends in one row.';

COMMENT ON COLUMN public.intake.outcome IS 'created: it made a subscription; replayed: its key was used before, and the first answer was given again; twin: the same was requested a short while ago; refused: it made nothing.';

COMMENT ON COLUMN public.intake.reason IS 'Why it was refused, in the words of the counters.';

COMMENT ON COLUMN public.intake.fields IS 'The fields that were refused.';

COMMENT ON COLUMN public.intake.caller IS 'The name of the user whose token or password it had.';

COMMENT ON COLUMN public.intake.action IS 'The method and the path.';

COMMENT ON COLUMN public.intake.request_id IS 'X-Request-ID of the request.';

COMMENT ON COLUMN public.intake.idempotency_key IS 'Idempotency-Key of the request; null: it had none, or none that can be read.';

COMMENT ON COLUMN public.intake.identity IS 'The person; null: the request named none that can be read.';

COMMENT ON COLUMN public.intake.subscription_id IS 'The subscription that it made, or that the first request made.';

COMMENT ON COLUMN public.intake.payload IS 'refused: the members of the body, without values of personal data; null: it is not JSON.';

CREATE TABLE public.intake_default (
    id bigint DEFAULT nextval('public.intake_entry_id'::regclass) CONSTRAINT intake_id_not_null NOT NULL,
    received_at timestamp with time zone DEFAULT now() CONSTRAINT intake_received_at_not_null NOT NULL,
    outcome text CONSTRAINT intake_outcome_not_null NOT NULL,
    reason text DEFAULT ''::text CONSTRAINT intake_reason_not_null NOT NULL,
    fields text[] DEFAULT '{}'::text[] CONSTRAINT intake_fields_not_null NOT NULL,
    caller text CONSTRAINT intake_caller_not_null NOT NULL,
    user_id integer,
    action text CONSTRAINT intake_action_not_null NOT NULL,
    request_id text,
    idempotency_key text,
    identity text,
    subscription_id uuid,
    payload jsonb,
    CONSTRAINT intake_outcome_check CHECK ((outcome = ANY (ARRAY['created'::text, 'replayed'::text, 'twin'::text, 'refused'::text]))),
    CONSTRAINT intake_reason_check CHECK (((outcome = 'refused'::text) = (reason <> ''::text)))
);

CREATE SEQUENCE public.ledger_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.ledger (
    id bigint DEFAULT nextval('public.ledger_id'::regclass) NOT NULL,
    send_id uuid NOT NULL,
    tick_id bigint,
    kind text NOT NULL,
    outcome text NOT NULL,
    stage text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    subscription_id uuid NOT NULL,
    identity text NOT NULL,
    messageset_id integer,
    sequence_number integer,
    lang text,
    attempts integer DEFAULT 0 NOT NULL,
    outbound_id text,
    owed_at timestamp with time zone DEFAULT now() NOT NULL,
    first_attempt_at timestamp with time zone,
    settled_at timestamp with time zone DEFAULT now() NOT NULL,
    actor text,
    is_assumed boolean DEFAULT false NOT NULL,
    message_version_id bigint,
    prepend text,
    CONSTRAINT ledger_stage_check CHECK ((stage = ANY (ARRAY['trigger'::text, 'content'::text, 'address'::text, 'post'::text])))
)
PARTITION BY RANGE (settled_at);

COMMENT ON COLUMN public.ledger.tick_id IS 'The tick that asked for it; of a move, none.';

COMMENT ON COLUMN public.ledger.stage IS 'How far it came: trigger, content, address or post.';

COMMENT ON COLUMN public.ledger.reason IS 'Why it was not sent; empty where it was.';

COMMENT ON COLUMN public.ledger.outbound_id IS 'The id of the outbound in the Message Sender.';

COMMENT ON COLUMN public.ledger.actor IS 'The operator who asked for it by command, if one did.';

COMMENT ON COLUMN public.ledger.is_assumed IS 'It may have been sent, and the subscription went on as if it had been.';

COMMENT ON COLUMN public.ledger.message_version_id IS 'The content of the message, in message_versions. Null: none was claimed, or before this was recorded.';

COMMENT ON COLUMN public.ledger.prepend IS 'What was sent before the text; null: nothing.';

CREATE TABLE public.ledger_default (
    id bigint DEFAULT nextval('public.ledger_id'::regclass) CONSTRAINT ledger_id_not_null NOT NULL,
    send_id uuid CONSTRAINT ledger_send_id_not_null NOT NULL,
    tick_id bigint,
    kind text CONSTRAINT ledger_kind_not_null NOT NULL,
    outcome text CONSTRAINT ledger_outcome_not_null NOT NULL,
    stage text CONSTRAINT ledger_stage_not_null NOT NULL,
    reason text DEFAULT ''::text CONSTRAINT ledger_reason_not_null NOT NULL,
    subscription_id uuid CONSTRAINT ledger_subscription_id_not_null NOT NULL,
    identity text CONSTRAINT ledger_identity_not_null NOT NULL,
    messageset_id integer,
    sequence_number integer,
    lang text,
    attempts integer DEFAULT 0 CONSTRAINT ledger_attempts_not_null NOT NULL,
    outbound_id text,
    owed_at timestamp with time zone DEFAULT now() CONSTRAINT ledger_owed_at_not_null NOT NULL,
    first_attempt_at timestamp with time zone,
    settled_at timestamp with time zone DEFAULT now() CONSTRAINT ledger_settled_at_not_null NOT NULL,
    actor text,
    is_assumed boolean DEFAULT false CONSTRAINT ledger_is_assumed_not_null NOT NULL,
    message_version_id bigint,
    prepend text,
    CONSTRAINT ledger_stage_check CHECK ((stage = ANY (ARRAY['trigger'::text, 'content'::text, 'address'::text, 'post'::text])))
);

CREATE TABLE public.message_versions (
    id bigint NOT NULL,
    message_id integer NOT NULL,
    messageset_id integer NOT NULL,
    sequence_number integer NOT NULL,
    lang text NOT NULL,
    text_content text,
    file_name text,
    metadata jsonb NOT NULL,
    made_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    made_by text
);

COMMENT ON TABLE public.message_versions IS 'Each content that a message has had. They stay when the message is changed or deleted.';

COMMENT ON COLUMN public.message_versions.made_by IS 'The user or the operator; null: the pipeline, psql, or before this was recorded.';

CREATE SEQUENCE public.message_version_id
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.message_version_id OWNED BY public.message_versions.id;

CREATE TABLE public.messages (
    id integer NOT NULL,
    messageset_id integer NOT NULL,
    sequence_number integer NOT NULL,
    lang text NOT NULL,
    text_content text,
    binary_content_id integer,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_by integer,
    version_id bigint DEFAULT nextval('public.message_version_id'::regclass) NOT NULL,
    CONSTRAINT messages_lang_check CHECK (((char_length(lang) >= 1) AND (char_length(lang) <= 6)))
);

COMMENT ON COLUMN public.messages.version_id IS 'The version that has its content of now.';

ALTER TABLE public.messages ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.messages_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.messagesets (
    id integer NOT NULL,
    short_name text NOT NULL,
    label text DEFAULT ''::text NOT NULL,
    content_type text NOT NULL,
    channel text,
    notes text,
    next_set_id integer,
    default_schedule_id integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    send_hours public.send_hours,
    max_age integer,
    updated_by integer,
    on_missing_translation text DEFAULT 'next'::text NOT NULL,
    CONSTRAINT messagesets_channel_check CHECK ((char_length(channel) <= 64)),
    CONSTRAINT messagesets_content_type_check CHECK ((content_type = ANY (ARRAY['text'::text, 'audio'::text]))),
    CONSTRAINT messagesets_label_check CHECK ((char_length(label) <= 100)),
    CONSTRAINT messagesets_max_age_check CHECK ((max_age > 0)),
    CONSTRAINT messagesets_on_missing_translation_check CHECK ((on_missing_translation ~ '^(next|wait|fallback:[a-z]{3}(_[A-Z]{2})?)$'::text)),
    CONSTRAINT messagesets_short_name_check CHECK (((char_length(short_name) >= 1) AND (char_length(short_name) <= 100)))
);

COMMENT ON COLUMN public.messagesets.send_hours IS 'When its messages may leave, in the time zone of the schedule; null: always.';

COMMENT ON COLUMN public.messagesets.max_age IS 'After so many seconds, what is owed of it is skipped; null: never.';

COMMENT ON COLUMN public.messagesets.on_missing_translation IS 'What a reader gets at a number that has a message in other languages only. next: the next message in the own language; fallback:<lang>: the message in that language; wait: nothing, until it is translated.';

ALTER TABLE public.messagesets ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.messagesets_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.sends (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kind text NOT NULL,
    lane text NOT NULL,
    state text DEFAULT 'owed'::text NOT NULL,
    subscription_id uuid NOT NULL,
    identity text NOT NULL,
    tick_id bigint NOT NULL,
    owed_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    owner uuid,
    lease_until timestamp with time zone,
    first_attempt_at timestamp with time zone,
    messageset_id integer,
    next_sequence_number integer,
    sequence_number integer,
    lang text,
    prepend text,
    faults integer DEFAULT 0 NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    unknown_since timestamp with time zone,
    message_id integer,
    actor text,
    is_fault boolean DEFAULT false NOT NULL,
    answers text[] DEFAULT '{}'::text[] NOT NULL,
    dated_at timestamp with time zone DEFAULT now() NOT NULL,
    queue_tick_id bigint GENERATED ALWAYS AS (
CASE
    WHEN (lane = 'tick'::text) THEN tick_id
    ELSE (0)::bigint
END) STORED NOT NULL,
    queue_schedule_id integer DEFAULT 0 NOT NULL,
    queue_messageset_id integer DEFAULT 0 NOT NULL,
    wanted_at timestamp with time zone,
    asked_identity text,
    message_version_id bigint,
    CONSTRAINT sends_check CHECK (((state = 'claimed'::text) = (owner IS NOT NULL))),
    CONSTRAINT sends_check1 CHECK (((state = 'claimed'::text) = (lease_until IS NOT NULL))),
    CONSTRAINT sends_check2 CHECK (((state = 'unknown'::text) = (unknown_since IS NOT NULL))),
    CONSTRAINT sends_kind_check CHECK ((kind = ANY (ARRAY['next'::text, 'resend'::text]))),
    CONSTRAINT sends_lane_check CHECK ((lane = ANY (ARRAY['single'::text, 'tick'::text]))),
    CONSTRAINT sends_message_id_check CHECK (((kind = 'resend'::text) OR (message_id IS NULL))),
    CONSTRAINT sends_state_check CHECK ((state = ANY (ARRAY['owed'::text, 'claimed'::text, 'unknown'::text])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='20000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='5000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE public.sends IS 'Live sends only. A row is deleted when its send is settled.';

COMMENT ON COLUMN public.sends.id IS 'metadata.sbm_send_id of the outbound: the same for every attempt.';

COMMENT ON COLUMN public.sends.lane IS 'Single sends overtake those of a tick.';

COMMENT ON COLUMN public.sends.state IS 'owed: it is sent when it is due; claimed: its owner has a lease until lease_until; unknown: a POST may have been made, and the Message Sender has to be asked.';

COMMENT ON COLUMN public.sends.attempt IS 'Grows with every claim. It fences: a result with an older attempt changes nothing.';

COMMENT ON COLUMN public.sends.next_sequence_number IS 'Of the subscription, when it was claimed.';

COMMENT ON COLUMN public.sends.sequence_number IS 'Of the message: the lowest not below that.';

COMMENT ON COLUMN public.sends.faults IS 'Failed calls that count against this message or person.';

COMMENT ON COLUMN public.sends.message_id IS 'Of a resend: the message, fixed when it was requested.';

COMMENT ON COLUMN public.sends.actor IS 'The operator who asked for it by command, if one did.';

COMMENT ON COLUMN public.sends.is_fault IS 'Of an unknown send: if the Message Sender does not have it, that is a fault.';

COMMENT ON COLUMN public.sends.answers IS 'The answers to the calls that count as faults: each once, the first five.';

COMMENT ON COLUMN public.sends.dated_at IS 'When due_at, lease_until and unknown_since were written. If this is in the future, the clock was wrong then, and the three times are wrong by the same amount.';

COMMENT ON COLUMN public.sends.queue_tick_id IS 'The queue of an owed send: its tick; 0: the lane of single sends.';

COMMENT ON COLUMN public.sends.queue_schedule_id IS 'The queue of an owed send: the schedule of its subscription; 0: there is no such subscription. Claimed: as it was then.';

COMMENT ON COLUMN public.sends.queue_messageset_id IS 'The queue of an owed send: the message set of its message. Claimed: as it was then.';

COMMENT ON COLUMN public.sends.wanted_at IS 'When somebody last asked for it, after it was owed already: its age counts from then.';

COMMENT ON COLUMN public.sends.asked_identity IS 'Of a person who was forgotten: the identity, until it is known whether it was sent.';

CREATE VIEW public.owed_queues AS
 WITH RECURSIVE queue AS (
        ( SELECT sends.queue_tick_id,
            sends.queue_schedule_id,
            sends.queue_messageset_id,
            sends.due_at
           FROM public.sends
          WHERE (sends.state = 'owed'::text)
          ORDER BY sends.queue_tick_id, sends.queue_schedule_id, sends.queue_messageset_id, sends.due_at
         LIMIT 1)
        UNION ALL
         SELECT following.queue_tick_id,
            following.queue_schedule_id,
            following.queue_messageset_id,
            following.due_at
           FROM (queue queue_1
             CROSS JOIN LATERAL ( SELECT sends.queue_tick_id,
                    sends.queue_schedule_id,
                    sends.queue_messageset_id,
                    sends.due_at
                   FROM public.sends
                  WHERE ((sends.state = 'owed'::text) AND (ROW(sends.queue_tick_id, sends.queue_schedule_id, sends.queue_messageset_id) > ROW(queue_1.queue_tick_id, queue_1.queue_schedule_id, queue_1.queue_messageset_id)))
                  ORDER BY sends.queue_tick_id, sends.queue_schedule_id, sends.queue_messageset_id, sends.due_at
                 LIMIT 1) following)
        )
 SELECT queue_tick_id AS tick_id,
    queue_schedule_id AS schedule_id,
    queue_messageset_id AS messageset_id,
    due_at
   FROM queue;

COMMENT ON VIEW public.owed_queues IS 'The queues that have owed sends, and when the first one of each is due. One step in an index for each: it does not read the sends.';

CREATE TABLE public.paces (
    schedule_id integer NOT NULL,
    next_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

COMMENT ON TABLE public.paces IS 'The next moment at which a message of a schedule may leave; 0: of all schedules together.';

ALTER TABLE public.pauses ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.pauses_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.recent_registrations (
    fingerprint bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    subscription_id uuid NOT NULL,
    received_at timestamp with time zone,
    CONSTRAINT recent_registrations_fingerprint_check CHECK ((octet_length(fingerprint) = 32))
);

COMMENT ON TABLE public.recent_registrations IS 'Requests without a key to the webhook, as long as their duplicates are refused.';

COMMENT ON COLUMN public.recent_registrations.fingerprint IS 'SHA-256 of the data as they were read: the subscription itself goes on and changes.';

COMMENT ON COLUMN public.recent_registrations.received_at IS 'By the clock of the daemon that received it.';

CREATE TABLE public.resend_requests (
    id integer NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    subscription_id uuid NOT NULL,
    message_id integer,
    send_id uuid NOT NULL,
    outbound_id text
);

COMMENT ON COLUMN public.resend_requests.message_id IS 'Null: there was no message that could be resent.';

COMMENT ON COLUMN public.resend_requests.send_id IS 'The send that answers it. Requests that come while one is unsettled share it.';

COMMENT ON COLUMN public.resend_requests.outbound_id IS 'Of the settled resend, in the Message Sender.';

ALTER TABLE public.resend_requests ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.resend_requests_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE UNLOGGED TABLE public.schedule_runs (
    search_id bigint NOT NULL,
    schedule_id integer NOT NULL,
    number integer NOT NULL,
    run_at timestamp with time zone NOT NULL
);

CREATE TABLE public.scheduler_calls (
    id bigint NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    state text DEFAULT 'owed'::text NOT NULL,
    revision integer DEFAULT 0 NOT NULL,
    owed_at timestamp with time zone DEFAULT now() NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    unknown_since timestamp with time zone,
    faults integer DEFAULT 0 NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    up_to uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    waits_for text,
    fault text DEFAULT ''::text NOT NULL,
    dated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT scheduler_calls_check CHECK (((state = 'claimed'::text) = (lease_until IS NOT NULL))),
    CONSTRAINT scheduler_calls_kind_check CHECK ((kind = ANY (ARRAY['subscription'::text, 'schedule'::text, 'members'::text, 'leftover'::text]))),
    CONSTRAINT scheduler_calls_state_check CHECK ((state = ANY (ARRAY['owed'::text, 'waiting'::text, 'claimed'::text, 'refused'::text]))),
    CONSTRAINT scheduler_calls_waits_for_check CHECK (((state = 'waiting'::text) = (waits_for IS NOT NULL)))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='5000', autovacuum_vacuum_cost_delay='0');

COMMENT ON TABLE public.scheduler_calls IS 'Calls that are owed to the Seed Scheduler. A row is deleted when its call is done.';

COMMENT ON COLUMN public.scheduler_calls.kind IS 'subscription, schedule: tell the Scheduler about it; members: owe a call for each subscription on that schedule that needs one; leftover: disable a schedule that belongs to no subscription or schedule.';

COMMENT ON COLUMN public.scheduler_calls.target IS 'The id of the subscription or schedule; of a leftover, its id at the Scheduler.';

COMMENT ON COLUMN public.scheduler_calls.revision IS 'Grows with every change that it is owed for. One that came while it was done is not done.';

COMMENT ON COLUMN public.scheduler_calls.attempt IS 'Grows with every claim. It fences: a result with an older attempt changes nothing.';

COMMENT ON COLUMN public.scheduler_calls.unknown_since IS 'Since then no more of a POST that may have made a schedule is under way: it is looked for before another one is made.';

COMMENT ON COLUMN public.scheduler_calls.up_to IS 'members: the last subscription that was looked at.';

COMMENT ON COLUMN public.scheduler_calls.waits_for IS 'The cron that another call is having its first schedule made with.';

COMMENT ON COLUMN public.scheduler_calls.fault IS 'The last answer that was counted as a fault of this call.';

COMMENT ON COLUMN public.scheduler_calls.dated_at IS 'When due_at, lease_until and unknown_since were written. If this is in the future, the clock was wrong then, and the three times are wrong by the same amount.';

CREATE TABLE public.scheduler_schedules (
    kind text NOT NULL,
    target text NOT NULL,
    remote_id text NOT NULL,
    cron_definition text,
    enabled boolean,
    told_at timestamp with time zone DEFAULT now() NOT NULL,
    made_with text,
    is_addressed boolean DEFAULT true NOT NULL,
    silent_since timestamp with time zone,
    CONSTRAINT scheduler_schedules_kind_check CHECK ((kind = ANY (ARRAY['subscription'::text, 'schedule'::text])))
);

COMMENT ON TABLE public.scheduler_schedules IS 'The schedules at the Seed Scheduler that call us back, as it was last told.';

COMMENT ON COLUMN public.scheduler_schedules.target IS 'The id of the subscription or schedule. It is not a foreign key, because the schedule of a deleted row must be disabled.';

COMMENT ON COLUMN public.scheduler_schedules.cron_definition IS 'The cron that the Scheduler shows; null: not known, or it may fire at other times.';

COMMENT ON COLUMN public.scheduler_schedules.enabled IS 'Null: not known.';

COMMENT ON COLUMN public.scheduler_schedules.made_with IS 'The cron that it was made with, which is when it fires; null: not known.';

COMMENT ON COLUMN public.scheduler_schedules.is_addressed IS 'False: its endpoint or its token is not ours any more.';

COMMENT ON COLUMN public.scheduler_schedules.silent_since IS 'If this schedule is disabled and the one that replaces it is not made yet: since when no schedule calls, by the Scheduler''s clock. Otherwise null.';

CREATE TABLE public.subscriptions (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    identity text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    messageset_id integer NOT NULL,
    next_sequence_number integer DEFAULT 1 NOT NULL,
    initial_sequence_number integer DEFAULT 1 NOT NULL,
    lang text NOT NULL,
    active boolean DEFAULT true NOT NULL,
    completed boolean DEFAULT false NOT NULL,
    schedule_id integer NOT NULL,
    process_status smallint DEFAULT 0 NOT NULL,
    metadata jsonb,
    chained_from uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by integer,
    updated_by integer,
    joined_xid xid8 DEFAULT pg_current_xact_id(),
    joined_at timestamp with time zone DEFAULT now(),
    CONSTRAINT subscriptions_identity_check CHECK (((char_length(identity) >= 1) AND (char_length(identity) <= 36))),
    CONSTRAINT subscriptions_lang_check CHECK (((char_length(lang) >= 1) AND (char_length(lang) <= 6))),
    CONSTRAINT subscriptions_process_status_check CHECK ((process_status = ANY (ARRAY['-2'::integer, '-1'::integer, 0, 2])))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');

COMMENT ON COLUMN public.subscriptions.identity IS 'The identity in the Identity Store: a UUID in lower case; older ones as they were imported.';

COMMENT ON COLUMN public.subscriptions.process_status IS '-2, -1 error; 0 ready; 2 completed. 1, in process, is derived: there is a live next send.';

COMMENT ON COLUMN public.subscriptions.chained_from IS 'The completed subscription that this one follows. It is not a foreign key, because that row may be deleted.';

COMMENT ON COLUMN public.subscriptions.joined_xid IS 'The transaction in which it became one that its schedule''s ticks cover; null: before all.';

COMMENT ON COLUMN public.subscriptions.joined_at IS 'The time of joined_xid. It distinguishes the transactions of this server from those of another server whose data was restored here.';

CREATE VIEW public.scheduler_call_steps AS
 SELECT id,
    kind,
    target,
    state,
    attempt,
    revision,
    unknown_since,
    schedule_id,
    wanted,
    remote_id,
    cron_definition,
    made_with,
    enabled,
    is_addressed,
        CASE
            WHEN (kind = 'members'::text) THEN 'members'::text
            WHEN (unknown_since IS NOT NULL) THEN 'look'::text
            WHEN ((wanted IS NULL) AND (remote_id IS NULL)) THEN 'none'::text
            WHEN (wanted IS NULL) THEN 'disable'::text
            WHEN (remote_id IS NULL) THEN 'create'::text
            WHEN ((cron_definition = wanted) AND ((made_with = wanted) OR ((made_with IS NULL) AND enabled))) THEN 'change'::text
            WHEN (NOT enabled) THEN 'create'::text
            ELSE 'replace'::text
        END AS step
   FROM ( SELECT c.id,
            c.kind,
            c.target,
            c.state,
            c.attempt,
            c.revision,
            c.unknown_since,
            s.of_schedule AS schedule_id,
            told.wanted,
            known.cron_definition,
            known.made_with,
            known.enabled,
            COALESCE(known.is_addressed, false) AS is_addressed,
                CASE
                    WHEN (c.kind = 'leftover'::text) THEN c.target
                    ELSE COALESCE(known.remote_id,
                    CASE
                        WHEN ((s.in_metadata <> ''::text) AND (NOT (EXISTS ( SELECT
                           FROM public.scheduler_schedules others
                          WHERE (others.remote_id = s.in_metadata))))) THEN s.in_metadata
                        ELSE NULL::text
                    END)
                END AS remote_id
           FROM ((((public.scheduler_calls c
             CROSS JOIN ( SELECT public.scheduling_mode() AS mode) scheduling)
             LEFT JOIN public.scheduler_schedules known ON (((known.kind = c.kind) AND (known.target = c.target))))
             CROSS JOIN LATERAL ( SELECT
                        CASE
                            WHEN (c.kind = 'schedule'::text) THEN (c.target)::integer
                            ELSE found.schedule_id
                        END AS of_schedule,
                    found.is_under_way,
                    found.in_metadata
                   FROM (( SELECT) one
                     LEFT JOIN LATERAL ( SELECT subscriptions.schedule_id,
                            (subscriptions.active AND (NOT subscriptions.completed)) AS is_under_way,
                                CASE
                                    WHEN (jsonb_typeof(subscriptions.metadata) = 'object'::text) THEN (subscriptions.metadata ->> 'scheduler_schedule_id'::text)
                                    ELSE NULL::text
                                END AS in_metadata
                           FROM public.subscriptions
                          WHERE (subscriptions.id =
                                CASE
                                    WHEN (c.kind = 'subscription'::text) THEN (c.target)::uuid
                                    ELSE NULL::uuid
                                END)
                         OFFSET 0) found ON (true))) s)
             LEFT JOIN LATERAL ( SELECT public.cron_definition(schedules.*) AS wanted
                   FROM public.schedules
                  WHERE (schedules.id =
                        CASE
                            WHEN ((c.kind = 'subscription'::text) AND (scheduling.mode = 'subscription'::text) AND s.is_under_way) THEN s.of_schedule
                            WHEN ((c.kind = 'schedule'::text) AND (scheduling.mode = 'schedule'::text)) THEN s.of_schedule
                            ELSE NULL::integer
                        END)
                 OFFSET 0) told ON (true))) things;

COMMENT ON VIEW public.scheduler_call_steps IS 'The next step of each call.';

CREATE TABLE public.scheduler_callbacks (
    kind text NOT NULL,
    target text NOT NULL,
    moment timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT scheduler_callbacks_kind_check CHECK ((kind = ANY (ARRAY['subscription'::text, 'schedule'::text]))),
    CONSTRAINT scheduler_callbacks_status_check CHECK (((status >= 200) AND (status <= 299)))
);

COMMENT ON TABLE public.scheduler_callbacks IS 'Recent calls of the Seed Scheduler that were done, and their answers.';

COMMENT ON COLUMN public.scheduler_callbacks.target IS 'The id of the subscription or schedule, as in scheduler_schedules.';

COMMENT ON COLUMN public.scheduler_callbacks.moment IS 'The due moment that the call belongs to; of a call that fits none, when it came.';

COMMENT ON COLUMN public.scheduler_callbacks.received_at IS 'By the clock of the daemon that received it.';

ALTER TABLE public.scheduler_calls ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.scheduler_calls_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.scheduler_crons (
    cron_definition text NOT NULL,
    known_at timestamp with time zone,
    call_id bigint,
    attempt integer,
    taken_until timestamp with time zone
);

COMMENT ON TABLE public.scheduler_crons IS 'The crons that the Scheduler knows, and those with which a first schedule is being made.';

COMMENT ON COLUMN public.scheduler_crons.known_at IS 'When a schedule was first known to have been made with it; null: none is known.';

COMMENT ON COLUMN public.scheduler_crons.call_id IS 'The call whose POST may be in progress, or may have been done; null: there is none.';

COMMENT ON COLUMN public.scheduler_crons.attempt IS 'The attempt of that call. It fences.';

COMMENT ON COLUMN public.scheduler_crons.taken_until IS 'After that, another call may try.';

CREATE UNLOGGED TABLE public.scheduler_listing (
    listing_id uuid NOT NULL,
    remote_id text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    cron_definition text,
    enabled boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    listed_at timestamp with time zone DEFAULT now() NOT NULL,
    made_with text,
    is_addressed boolean DEFAULT true NOT NULL
);

ALTER TABLE public.schedules ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.schedules_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.scheduling (
    is_only_row boolean DEFAULT true NOT NULL,
    mode text NOT NULL,
    time_zone text DEFAULT 'UTC'::text NOT NULL,
    scheduler_time_zone text,
    CONSTRAINT scheduling_is_only_row_check CHECK (is_only_row),
    CONSTRAINT scheduling_mode_check CHECK ((mode = ANY (ARRAY['subscription'::text, 'schedule'::text, 'builtin'::text])))
);

COMMENT ON TABLE public.scheduling IS 'SBM_SCHEDULING of the daemon that was started last, for sessions that are not a daemon''s.';

COMMENT ON COLUMN public.scheduling.time_zone IS 'SBM_TIMEZONE: the time zone of schedules without one of their own.';

COMMENT ON COLUMN public.scheduling.scheduler_time_zone IS 'That of the Scheduler, if it makes the ticks: it counts for all schedules with a time zone.';

CREATE TABLE public.schema_migrations (
    name text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.schema_migrations IS 'The files of sql/migrations that made this schema.';

CREATE UNLOGGED TABLE public.searches (
    id bigint NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    as_of timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.searches IS 'Searches for subscriptions that are behind. A row is deleted when its search ends.';

COMMENT ON COLUMN public.searches.as_of IS 'The moment for which the expected places are computed.';

ALTER TABLE public.searches ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.searches_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.silent_counts (
    is_only_row boolean DEFAULT true NOT NULL,
    searched_at timestamp with time zone DEFAULT now() NOT NULL,
    active bigint NOT NULL,
    counts jsonb NOT NULL,
    CONSTRAINT silent_counts_is_only_row_check CHECK (is_only_row)
);

COMMENT ON TABLE public.silent_counts IS 'The result of the last search for silent subscriptions.';

COMMENT ON COLUMN public.silent_counts.active IS 'How many active subscriptions it looked at.';

COMMENT ON COLUMN public.silent_counts.counts IS 'By cause, message set, language and schedule.';

CREATE TABLE public.silent_subscriptions (
    id bigint NOT NULL,
    subscription_id uuid NOT NULL,
    cause text NOT NULL,
    found_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT silent_subscriptions_cause_check CHECK ((cause = ANY (ARRAY['error'::text, 'empty-set'::text, 'language'::text, 'translation'::text, 'schedule'::text, 'scheduler'::text, 'paused'::text])))
);

COMMENT ON TABLE public.silent_subscriptions IS 'The active subscriptions that no tick would reach at the last search.';

COMMENT ON COLUMN public.silent_subscriptions.found_at IS 'The first search that found it with this cause.';

ALTER TABLE public.silent_subscriptions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.silent_subscriptions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.simulations (
    token uuid DEFAULT gen_random_uuid() NOT NULL,
    schedule_id integer NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    made_by text NOT NULL,
    allowed_change integer NOT NULL,
    counts jsonb NOT NULL,
    CONSTRAINT simulations_allowed_change_check CHECK (((allowed_change >= 0) AND (allowed_change <= 100)))
);

COMMENT ON TABLE public.simulations IS 'What ticks would have done, for whoever opens one with the token.';

COMMENT ON COLUMN public.simulations.made_by IS 'The name of the user, or "sbm simulate".';

COMMENT ON COLUMN public.simulations.allowed_change IS 'By how many percent of the members the results may have changed when the tick is opened.';

COMMENT ON COLUMN public.simulations.counts IS 'How many members have which result, by set, language, number, outcome, stage and reason.';

CREATE TABLE public.tasks (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    kind text NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    requested_by integer,
    up_to integer,
    owner uuid,
    lease_until timestamp with time zone,
    finished_at timestamp with time zone,
    reason text DEFAULT ''::text NOT NULL,
    wanted jsonb DEFAULT '{}'::jsonb NOT NULL,
    progress jsonb DEFAULT '{}'::jsonb NOT NULL,
    result jsonb DEFAULT '{}'::jsonb NOT NULL,
    dated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tasks_check CHECK (((state = 'begun'::text) = (lease_until IS NOT NULL))),
    CONSTRAINT tasks_check1 CHECK (((state = 'begun'::text) = (owner IS NOT NULL))),
    CONSTRAINT tasks_check2 CHECK (((state = ANY (ARRAY['done'::text, 'failed'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT tasks_kind_check CHECK ((kind = ANY (ARRAY['requeue-failed-tasks'::text, 'estimate-sends'::text, 'find-behind-subscriptions'::text, 'find-silent-subscriptions'::text, 'sync-audio-files'::text]))),
    CONSTRAINT tasks_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'begun'::text, 'done'::text, 'failed'::text]))),
    CONSTRAINT tasks_wanted_check CHECK (((kind = 'requeue-failed-tasks'::text) OR (wanted = '{}'::jsonb)))
);

COMMENT ON COLUMN public.tasks.up_to IS 'requeue-failed-tasks: the newest row to requeue. Sends that fail again meanwhile have higher ids.';

COMMENT ON COLUMN public.tasks.wanted IS 'requeue-failed-tasks: the filter of the rows to requeue; without a member, all of them.';

COMMENT ON COLUMN public.tasks.progress IS 'The progress that the daemon reported last.';

COMMENT ON COLUMN public.tasks.result IS 'The result, in the form of the kind.';

COMMENT ON COLUMN public.tasks.dated_at IS 'When lease_until was written. If this is in the future, the clock was wrong then, and lease_until is wrong by the same amount.';

ALTER TABLE public.ticks ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.ticks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.timelines (
    cluster text NOT NULL,
    timeline bigint NOT NULL,
    token uuid DEFAULT gen_random_uuid() NOT NULL,
    first_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

COMMENT ON TABLE public.timelines IS 'The servers on which this database has been, one row for each timeline on which a daemon has written. A standby that is promoted has the rows of its old primary, and begins a new timeline.';

COMMENT ON COLUMN public.timelines.cluster IS 'The system identifier of the database cluster: a server and all its standbys have the same.';

COMMENT ON COLUMN public.timelines.timeline IS 'Each promotion begins the next one.';

COMMENT ON COLUMN public.timelines.token IS 'Random: tells whether two servers on a timeline of the same number have it in common.';

CREATE TABLE public.tokens (
    id integer NOT NULL,
    user_id integer NOT NULL,
    digest bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    name text DEFAULT ''::text NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    uses_recorded_since timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tokens_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT tokens_name_check CHECK ((char_length(name) <= 100))
);

COMMENT ON COLUMN public.tokens.digest IS 'SHA-256 of the token; the token itself is not stored.';

COMMENT ON COLUMN public.tokens.expires_at IS 'From then on, it is refused. Null: it never expires.';

COMMENT ON COLUMN public.tokens.last_used_at IS 'Written at most once an hour. Null: it was not used since this is recorded.';

COMMENT ON COLUMN public.tokens.uses_recorded_since IS 'Uses before this moment are unknown: those before the upgrade, or in the old service.';

ALTER TABLE public.tokens ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.undelivered_people (
    id bigint NOT NULL,
    identity text NOT NULL,
    in_row integer NOT NULL,
    since timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE public.undelivered_people IS 'People whose last messages were not delivered.';

COMMENT ON COLUMN public.undelivered_people.in_row IS 'How many, by the last look at each.';

COMMENT ON COLUMN public.undelivered_people.since IS 'When the first of them was sent; last_at: the last.';

ALTER TABLE public.undelivered_people ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.undelivered_people_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.user_permissions (
    user_id integer NOT NULL,
    permission text NOT NULL,
    CONSTRAINT user_permissions_permission_check CHECK ((((char_length(permission) >= 1) AND (char_length(permission) <= 100)) AND (permission <> 'administer'::text)))
);

COMMENT ON TABLE public.user_permissions IS 'What was granted to a user. Administrators hold all without a row here.';

CREATE TABLE public.users (
    id integer NOT NULL,
    username text NOT NULL,
    email text DEFAULT ''::text NOT NULL,
    is_admin boolean DEFAULT false NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    password text,
    is_limited boolean DEFAULT false NOT NULL,
    CONSTRAINT users_email_check CHECK ((char_length(email) <= 254)),
    CONSTRAINT users_password_check CHECK (((char_length(password) >= 1) AND (char_length(password) <= 255))),
    CONSTRAINT users_username_check CHECK (((char_length(username) >= 1) AND (char_length(username) <= 150)))
);

COMMENT ON COLUMN public.users.is_admin IS 'May administer users and tokens, and holds every permission.';

COMMENT ON COLUMN public.users.password IS 'Hashed: Argon2id in PHC form, or as it was imported until its user uses it again. Null: the user has none.';

COMMENT ON COLUMN public.users.is_limited IS 'Holds only what user_permissions has. All others hold the usual permissions, too.';

ALTER TABLE public.users ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.watched_ticks (
    tick_id bigint NOT NULL,
    canary integer,
    brake_percent integer,
    brake_after integer,
    posted bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    hold text,
    held_at timestamp with time zone,
    released_at timestamp with time zone,
    released_by text,
    CONSTRAINT watched_ticks_hold_check CHECK ((hold = ANY (ARRAY['braked'::text, 'canary'::text, 'stopped'::text])))
);

COMMENT ON TABLE public.watched_ticks IS 'Ticks with a brake or a canary.';

COMMENT ON COLUMN public.watched_ticks.canary IS 'After so many messages, it waits for a person; null: it has no canary, or was released.';

COMMENT ON COLUMN public.watched_ticks.posted IS 'How many sends were settled and not skipped, or had their first fault, since it was opened or released.';

COMMENT ON COLUMN public.watched_ticks.failed IS 'How many of them were refused or failed, or have a fault and are tried again.';

COMMENT ON COLUMN public.watched_ticks.hold IS 'Why it is held back until a person releases it; null: it is not.';

ALTER TABLE ONLY public.audit ATTACH PARTITION public.audit_default DEFAULT;

ALTER TABLE ONLY public.deliveries ATTACH PARTITION public.deliveries_default DEFAULT;

ALTER TABLE ONLY public.intake ATTACH PARTITION public.intake_default DEFAULT;

ALTER TABLE ONLY public.ledger ATTACH PARTITION public.ledger_default DEFAULT;

ALTER TABLE ONLY public.message_versions ALTER COLUMN id SET DEFAULT nextval('public.message_version_id'::regclass);

ALTER TABLE ONLY public.audio_copies
    ADD CONSTRAINT audio_copies_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id, done_at);

ALTER TABLE ONLY public.audit_default
    ADD CONSTRAINT audit_default_pkey PRIMARY KEY (id, done_at);

ALTER TABLE ONLY public.behind_subscriptions
    ADD CONSTRAINT behind_subscriptions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.behind_subscriptions
    ADD CONSTRAINT behind_subscriptions_subscription_id_key UNIQUE (subscription_id);

ALTER TABLE ONLY public.binary_contents
    ADD CONSTRAINT binary_contents_content_key UNIQUE (content);

ALTER TABLE ONLY public.binary_contents
    ADD CONSTRAINT binary_contents_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.clock_jumps
    ADD CONSTRAINT clock_jumps_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.clock_readings
    ADD CONSTRAINT clock_readings_pkey PRIMARY KEY (machine);

ALTER TABLE ONLY public.console_links
    ADD CONSTRAINT console_links_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_digest_key UNIQUE (digest);

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.content_changes
    ADD CONSTRAINT content_changes_pkey PRIMARY KEY (messageset_id, lang);

ALTER TABLE ONLY public.daemons
    ADD CONSTRAINT daemons_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (settled_at, ledger_id);

ALTER TABLE ONLY public.deliveries_default
    ADD CONSTRAINT deliveries_default_pkey PRIMARY KEY (settled_at, ledger_id);

ALTER TABLE ONLY public.delivery_counts
    ADD CONSTRAINT delivery_counts_day_messageset_id_lang_key UNIQUE (day, messageset_id, lang);

ALTER TABLE ONLY public.delivery_counts
    ADD CONSTRAINT delivery_counts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.delivery_places
    ADD CONSTRAINT delivery_places_pkey PRIMARY KEY (look);

ALTER TABLE ONLY public.doubles
    ADD CONSTRAINT doubles_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.doubles
    ADD CONSTRAINT doubles_send_id_outbound_id_key UNIQUE (send_id, outbound_id);

ALTER TABLE ONLY public.estimated_sends
    ADD CONSTRAINT estimated_sends_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.estimated_sends
    ADD CONSTRAINT estimated_sends_send_date_messageset_id_key UNIQUE (send_date, messageset_id);

ALTER TABLE ONLY public.failed_tasks
    ADD CONSTRAINT failed_tasks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.failed_tasks
    ADD CONSTRAINT failed_tasks_send_id_key UNIQUE (send_id);

ALTER TABLE ONLY public.forgotten_sends
    ADD CONSTRAINT forgotten_sends_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (request);

ALTER TABLE ONLY public.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (is_only_row);

ALTER TABLE ONLY public.intake
    ADD CONSTRAINT intake_pkey PRIMARY KEY (id, received_at);

ALTER TABLE ONLY public.intake_default
    ADD CONSTRAINT intake_default_pkey PRIMARY KEY (id, received_at);

ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT ledger_pkey PRIMARY KEY (settled_at, id);

ALTER TABLE ONLY public.ledger_default
    ADD CONSTRAINT ledger_default_pkey PRIMARY KEY (settled_at, id);

ALTER TABLE public.ledger
    ADD CONSTRAINT ledger_kind_check CHECK ((kind = ANY (ARRAY['next'::text, 'resend'::text, 'move'::text]))) NOT VALID;

ALTER TABLE public.ledger
    ADD CONSTRAINT ledger_move_check CHECK ((((kind = 'move'::text) = (tick_id IS NULL)) AND ((kind = 'move'::text) = (outcome = 'moved'::text)))) NOT VALID;

ALTER TABLE public.ledger
    ADD CONSTRAINT ledger_outcome_check CHECK ((outcome = ANY (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text, 'skipped'::text, 'refused'::text, 'failed'::text, 'moved'::text]))) NOT VALID;

ALTER TABLE ONLY public.message_versions
    ADD CONSTRAINT message_versions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_messageset_id_lang_sequence_number_key UNIQUE (messageset_id, lang, sequence_number);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.messagesets
    ADD CONSTRAINT messagesets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.messagesets
    ADD CONSTRAINT messagesets_short_name_key UNIQUE (short_name);

ALTER TABLE ONLY public.paces
    ADD CONSTRAINT paces_pkey PRIMARY KEY (schedule_id);

ALTER TABLE ONLY public.pauses
    ADD CONSTRAINT pauses_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.recent_registrations
    ADD CONSTRAINT recent_registrations_pkey PRIMARY KEY (fingerprint);

ALTER TABLE ONLY public.resend_requests
    ADD CONSTRAINT resend_requests_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schedule_runs
    ADD CONSTRAINT schedule_runs_pkey PRIMARY KEY (search_id, schedule_id, number);

ALTER TABLE ONLY public.scheduler_callbacks
    ADD CONSTRAINT scheduler_callbacks_pkey PRIMARY KEY (kind, target, moment);

ALTER TABLE ONLY public.scheduler_calls
    ADD CONSTRAINT scheduler_calls_kind_target_key UNIQUE (kind, target);

ALTER TABLE ONLY public.scheduler_calls
    ADD CONSTRAINT scheduler_calls_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.scheduler_crons
    ADD CONSTRAINT scheduler_crons_pkey PRIMARY KEY (cron_definition);

ALTER TABLE ONLY public.scheduler_listing
    ADD CONSTRAINT scheduler_listing_pkey PRIMARY KEY (listing_id, remote_id);

ALTER TABLE ONLY public.scheduler_schedules
    ADD CONSTRAINT scheduler_schedules_pkey PRIMARY KEY (kind, target);

ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.scheduling
    ADD CONSTRAINT scheduling_pkey PRIMARY KEY (is_only_row);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.searches
    ADD CONSTRAINT searches_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sends
    ADD CONSTRAINT sends_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.silent_counts
    ADD CONSTRAINT silent_counts_pkey PRIMARY KEY (is_only_row);

ALTER TABLE ONLY public.silent_subscriptions
    ADD CONSTRAINT silent_subscriptions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.silent_subscriptions
    ADD CONSTRAINT silent_subscriptions_subscription_id_key UNIQUE (subscription_id);

ALTER TABLE ONLY public.simulations
    ADD CONSTRAINT simulations_pkey PRIMARY KEY (token);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_chained_from_key UNIQUE (chained_from);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ticks
    ADD CONSTRAINT ticks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.timelines
    ADD CONSTRAINT timelines_pkey PRIMARY KEY (cluster, timeline);

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_digest_key UNIQUE (digest);

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.undelivered_people
    ADD CONSTRAINT undelivered_people_identity_key UNIQUE (identity);

ALTER TABLE ONLY public.undelivered_people
    ADD CONSTRAINT undelivered_people_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.user_permissions
    ADD CONSTRAINT user_permissions_pkey PRIMARY KEY (user_id, permission);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_username_key UNIQUE (username);

ALTER TABLE ONLY public.watched_ticks
    ADD CONSTRAINT watched_ticks_pkey PRIMARY KEY (tick_id);

CREATE INDEX audit_actor ON ONLY public.audit USING btree (actor, id);

CREATE INDEX audit_new_identity ON ONLY public.audit USING btree (((after ->> 'identity'::text))) WHERE ((operation = 'update'::text) AND (after ? 'identity'::text));

CREATE INDEX audit_commands ON ONLY public.audit USING btree (id) WHERE (operation IS NULL);

CREATE INDEX audit_identity ON ONLY public.audit USING btree (identity, id) WHERE (identity IS NOT NULL);

CREATE INDEX audit_request_id ON ONLY public.audit USING btree (request_id);

CREATE INDEX audit_row ON ONLY public.audit USING btree (table_name, row_id, id);

CREATE INDEX audit_default_actor_id_idx ON public.audit_default USING btree (actor, id);

CREATE INDEX audit_default_expr_idx ON public.audit_default USING btree (((after ->> 'identity'::text))) WHERE ((operation = 'update'::text) AND (after ? 'identity'::text));

CREATE INDEX audit_default_id_idx ON public.audit_default USING btree (id) WHERE (operation IS NULL);

CREATE INDEX audit_default_identity_id_idx ON public.audit_default USING btree (identity, id) WHERE (identity IS NOT NULL);

CREATE INDEX audit_default_request_id_idx ON public.audit_default USING btree (request_id);

CREATE INDEX audit_default_table_name_row_id_id_idx ON public.audit_default USING btree (table_name, row_id, id);

CREATE INDEX behind_subscriptions_current ON public.behind_subscriptions USING btree (current_messageset_id);

CREATE INDEX behind_subscriptions_expected ON public.behind_subscriptions USING btree (expected_messageset_id);

CREATE INDEX behind_subscriptions_newest ON public.behind_subscriptions USING btree (created_at DESC, id DESC);

CREATE INDEX console_links_user_id ON public.console_links USING btree (user_id);

CREATE INDEX console_sessions_user_id ON public.console_sessions USING btree (user_id);

CREATE INDEX deliveries_undelivered_messageset ON ONLY public.deliveries USING btree (messageset_id, settled_at, ledger_id) WHERE (NOT delivered);

CREATE INDEX deliveries_undelivered ON ONLY public.deliveries USING btree (settled_at, ledger_id) WHERE (NOT delivered);

CREATE INDEX deliveries_default_messageset_id_settled_at_ledger_id_idx ON public.deliveries_default USING btree (messageset_id, settled_at, ledger_id) WHERE (NOT delivered);

CREATE INDEX deliveries_default_settled_at_ledger_id_idx ON public.deliveries_default USING btree (settled_at, ledger_id) WHERE (NOT delivered);

CREATE INDEX delivery_counts_newest ON public.delivery_counts USING btree (day, id);

CREATE INDEX doubles_subscription_id ON public.doubles USING btree (subscription_id);

CREATE INDEX estimated_sends_messageset_id ON public.estimated_sends USING btree (messageset_id);

CREATE INDEX failed_tasks_identity ON public.failed_tasks USING btree (identity);

CREATE INDEX failed_tasks_subscription_id ON public.failed_tasks USING btree (subscription_id);

CREATE INDEX forgotten_sends_forgotten_at ON public.forgotten_sends USING btree (forgotten_at);

CREATE INDEX idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);

CREATE INDEX intake_identity ON ONLY public.intake USING btree (identity, id) WHERE (identity IS NOT NULL);

CREATE INDEX intake_not_created ON ONLY public.intake USING btree (outcome, reason, id) WHERE (outcome <> 'created'::text);

CREATE INDEX intake_default_identity_id_idx ON public.intake_default USING btree (identity, id) WHERE (identity IS NOT NULL);

CREATE INDEX intake_default_outcome_reason_id_idx ON public.intake_default USING btree (outcome, reason, id) WHERE (outcome <> 'created'::text);

CREATE INDEX ledger_identity ON ONLY public.ledger USING btree (identity);

CREATE INDEX ledger_unsent_messageset ON ONLY public.ledger USING btree (((messageset_id)::bigint), outcome, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_message ON ONLY public.ledger USING btree (((messageset_id)::bigint), sequence_number, lang, settled_at, id);

CREATE INDEX ledger_unsent_outcome ON ONLY public.ledger USING btree (outcome, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_unsent_stage ON ONLY public.ledger USING btree (outcome, stage, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_unsent_kind ON ONLY public.ledger USING btree (public.reason_kind(kind, outcome, stage, reason), settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_subscription_id ON ONLY public.ledger USING btree (subscription_id, settled_at);

CREATE INDEX ledger_unsent_tick ON ONLY public.ledger USING btree (tick_id, outcome, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_tick ON ONLY public.ledger USING btree (tick_id, settled_at, id);

CREATE INDEX ledger_default_identity_idx ON public.ledger_default USING btree (identity);

CREATE INDEX ledger_default_messageset_id_outcome_settled_at_id_idx ON public.ledger_default USING btree (((messageset_id)::bigint), outcome, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_default_messageset_id_sequence_number_lang_settled_a_idx ON public.ledger_default USING btree (((messageset_id)::bigint), sequence_number, lang, settled_at, id);

CREATE INDEX ledger_default_outcome_settled_at_id_idx ON public.ledger_default USING btree (outcome, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_default_outcome_stage_settled_at_id_idx ON public.ledger_default USING btree (outcome, stage, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_default_reason_kind_settled_at_id_idx ON public.ledger_default USING btree (public.reason_kind(kind, outcome, stage, reason), settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_default_subscription_id_settled_at_idx ON public.ledger_default USING btree (subscription_id, settled_at);

CREATE INDEX ledger_default_tick_id_outcome_settled_at_id_idx ON public.ledger_default USING btree (tick_id, outcome, settled_at, id) WHERE (outcome <> ALL (ARRAY['sent'::text, 'adopted'::text, 'dry-run'::text]));

CREATE INDEX ledger_default_tick_id_settled_at_id_idx ON public.ledger_default USING btree (tick_id, settled_at, id);

CREATE INDEX message_versions_message_id ON public.message_versions USING btree (message_id, id);

CREATE INDEX message_versions_place ON public.message_versions USING btree (messageset_id, lang, sequence_number, id);

CREATE INDEX messages_binary_content_id ON public.messages USING btree (binary_content_id);

CREATE INDEX messages_number ON public.messages USING btree (messageset_id, sequence_number);

CREATE INDEX messagesets_default_schedule_id ON public.messagesets USING btree (default_schedule_id);

CREATE INDEX messagesets_next_set_id ON public.messagesets USING btree (next_set_id);

CREATE INDEX pauses_open ON public.pauses USING btree (id) WHERE (ended_at IS NULL);

CREATE UNIQUE INDEX pauses_restored ON public.pauses USING btree (kind) WHERE ((kind = 'restored'::text) AND (ended_at IS NULL));

CREATE INDEX recent_registrations_created_at ON public.recent_registrations USING btree (created_at);

CREATE INDEX resend_requests_send_id ON public.resend_requests USING btree (send_id);

CREATE INDEX resend_requests_subscription_id ON public.resend_requests USING btree (subscription_id);

CREATE INDEX schedule_runs_run_at ON public.schedule_runs USING btree (search_id, schedule_id, run_at, number);

CREATE INDEX scheduler_callbacks_created_at ON public.scheduler_callbacks USING btree (created_at);

CREATE INDEX scheduler_calls_claimed ON public.scheduler_calls USING btree (lease_until) WHERE (state = 'claimed'::text);

CREATE INDEX scheduler_calls_failing ON public.scheduler_calls USING btree (id) WHERE (faults > 0);

CREATE INDEX scheduler_calls_owed ON public.scheduler_calls USING btree (due_at, id) WHERE (state = 'owed'::text);

CREATE INDEX scheduler_calls_refused ON public.scheduler_calls USING btree (id) WHERE (state = 'refused'::text);

CREATE INDEX scheduler_calls_waiting ON public.scheduler_calls USING btree (waits_for, id) WHERE (state = 'waiting'::text);

CREATE INDEX scheduler_listing_target ON public.scheduler_listing USING btree (listing_id, kind, target);

CREATE INDEX scheduler_schedules_remote_id ON public.scheduler_schedules USING btree (remote_id);

CREATE INDEX schedules_next_tick_at ON public.schedules USING btree (next_tick_at);

CREATE INDEX sends_asked_identity ON public.sends USING btree (asked_identity) WHERE (asked_identity IS NOT NULL);

CREATE INDEX sends_claimed ON public.sends USING btree (lease_until) WHERE (state = 'claimed'::text);

CREATE UNIQUE INDEX sends_one_per_subscription ON public.sends USING btree (subscription_id, kind);

CREATE INDEX sends_owed ON public.sends USING btree (queue_tick_id, queue_schedule_id, queue_messageset_id, due_at) WHERE (state = 'owed'::text);

CREATE INDEX sends_unknown ON public.sends USING btree (due_at) WHERE (state = 'unknown'::text);

CREATE INDEX silent_subscriptions_cause ON public.silent_subscriptions USING btree (cause, id);

CREATE INDEX simulations_made_at ON public.simulations USING btree (made_at);

CREATE INDEX simulations_schedule_id ON public.simulations USING btree (schedule_id);

CREATE INDEX subscriptions_completed ON public.subscriptions USING btree (created_at DESC, id DESC) WHERE completed;

CREATE INDEX subscriptions_due ON public.subscriptions USING btree (schedule_id, id) WHERE (active AND (NOT completed));

CREATE INDEX subscriptions_identity ON public.subscriptions USING btree (identity);

CREATE INDEX subscriptions_inactive ON public.subscriptions USING btree (created_at DESC, id DESC) WHERE (NOT active);

CREATE INDEX subscriptions_lang ON public.subscriptions USING btree (lang, created_at, id) INCLUDE (active, completed, process_status);

CREATE INDEX subscriptions_messageset_id ON public.subscriptions USING btree (messageset_id, created_at, id) INCLUDE (active, completed, process_status);

CREATE INDEX subscriptions_metadata ON public.subscriptions USING gin (metadata) WITH (fastupdate=off);

CREATE INDEX subscriptions_newest ON public.subscriptions USING btree (created_at, id) INCLUDE (messageset_id, schedule_id, process_status, version, initial_sequence_number, created_by, updated_by, active, completed, lang);

CREATE INDEX subscriptions_process_status ON public.subscriptions USING btree (process_status, created_at DESC, id DESC) WHERE (process_status <> 0);

CREATE INDEX subscriptions_schedule_id ON public.subscriptions USING btree (schedule_id, created_at, id) INCLUDE (active, completed, process_status);

CREATE INDEX tasks_newest ON public.tasks USING btree (requested_at, id);

CREATE UNIQUE INDEX tasks_one_begun ON public.tasks USING btree (kind) WHERE (state = 'begun'::text);

CREATE UNIQUE INDEX tasks_one_waiting ON public.tasks USING btree (kind, wanted) WHERE (state = 'waiting'::text);

CREATE INDEX tasks_requested_by ON public.tasks USING btree (requested_by);

CREATE INDEX ticks_created_at ON public.ticks USING btree (created_at) WHERE (source <> 'single'::text);

CREATE INDEX ticks_expanding ON public.ticks USING btree (id) WHERE (state = 'expanding'::text);

CREATE INDEX ticks_of_one_schedule ON public.ticks USING btree (schedule_id, id) WHERE (source <> 'single'::text);

CREATE INDEX ticks_of_schedules ON public.ticks USING btree (id) WHERE (source <> 'single'::text);

CREATE UNIQUE INDEX ticks_one_per_minute ON public.ticks USING btree (due_at, shard) WHERE (source = 'single'::text);

CREATE UNIQUE INDEX ticks_one_per_moment ON public.ticks USING btree (schedule_id, due_at) WHERE (source = 'clock'::text);

CREATE INDEX ticks_skipped_again ON public.ticks USING btree (schedule_id, id) WHERE (skipped_again_since IS NOT NULL);

CREATE INDEX ticks_to_check ON public.ticks USING btree (checked_at NULLS FIRST, id) WHERE (NOT is_checked_off);

CREATE INDEX ticks_unbalanced ON public.ticks USING btree (id) WHERE (missing <> 0);

CREATE INDEX tokens_user_id ON public.tokens USING btree (user_id);

CREATE INDEX undelivered_people_most ON public.undelivered_people USING btree (in_row, id);

CREATE INDEX watched_ticks_held ON public.watched_ticks USING btree (tick_id) WHERE (hold IS NOT NULL);

ALTER INDEX public.audit_actor ATTACH PARTITION public.audit_default_actor_id_idx;

ALTER INDEX public.audit_new_identity ATTACH PARTITION public.audit_default_expr_idx;

ALTER INDEX public.audit_commands ATTACH PARTITION public.audit_default_id_idx;

ALTER INDEX public.audit_identity ATTACH PARTITION public.audit_default_identity_id_idx;

ALTER INDEX public.audit_pkey ATTACH PARTITION public.audit_default_pkey;

ALTER INDEX public.audit_request_id ATTACH PARTITION public.audit_default_request_id_idx;

ALTER INDEX public.audit_row ATTACH PARTITION public.audit_default_table_name_row_id_id_idx;

ALTER INDEX public.deliveries_undelivered_messageset ATTACH PARTITION public.deliveries_default_messageset_id_settled_at_ledger_id_idx;

ALTER INDEX public.deliveries_pkey ATTACH PARTITION public.deliveries_default_pkey;

ALTER INDEX public.deliveries_undelivered ATTACH PARTITION public.deliveries_default_settled_at_ledger_id_idx;

ALTER INDEX public.intake_identity ATTACH PARTITION public.intake_default_identity_id_idx;

ALTER INDEX public.intake_not_created ATTACH PARTITION public.intake_default_outcome_reason_id_idx;

ALTER INDEX public.intake_pkey ATTACH PARTITION public.intake_default_pkey;

ALTER INDEX public.ledger_identity ATTACH PARTITION public.ledger_default_identity_idx;

ALTER INDEX public.ledger_unsent_messageset ATTACH PARTITION public.ledger_default_messageset_id_outcome_settled_at_id_idx;

ALTER INDEX public.ledger_message ATTACH PARTITION public.ledger_default_messageset_id_sequence_number_lang_settled_a_idx;

ALTER INDEX public.ledger_unsent_outcome ATTACH PARTITION public.ledger_default_outcome_settled_at_id_idx;

ALTER INDEX public.ledger_unsent_stage ATTACH PARTITION public.ledger_default_outcome_stage_settled_at_id_idx;

ALTER INDEX public.ledger_pkey ATTACH PARTITION public.ledger_default_pkey;

ALTER INDEX public.ledger_unsent_kind ATTACH PARTITION public.ledger_default_reason_kind_settled_at_id_idx;

ALTER INDEX public.ledger_subscription_id ATTACH PARTITION public.ledger_default_subscription_id_settled_at_idx;

ALTER INDEX public.ledger_unsent_tick ATTACH PARTITION public.ledger_default_tick_id_outcome_settled_at_id_idx;

ALTER INDEX public.ledger_tick ATTACH PARTITION public.ledger_default_tick_id_settled_at_id_idx;

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.binary_contents FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.messages FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.messagesets FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.pauses FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.schedules FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.subscriptions FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.tokens FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id', 'digest');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.user_permissions FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('user_id');

CREATE TRIGGER audit_row AFTER INSERT OR DELETE OR UPDATE ON public.users FOR EACH ROW WHEN ((current_setting('sbm.author'::text, true) <> ''::text)) EXECUTE FUNCTION public.audit_row('id', 'password');

CREATE TRIGGER binary_contents_renamed AFTER UPDATE OF content ON public.binary_contents FOR EACH ROW WHEN ((old.content <> new.content)) EXECUTE FUNCTION public.renew_message_versions();

CREATE TRIGGER date_moments BEFORE UPDATE OF due_at, lease_until, unknown_since ON public.scheduler_calls FOR EACH ROW EXECUTE FUNCTION public.date_unknown();

CREATE TRIGGER date_moments BEFORE UPDATE OF due_at, lease_until, unknown_since ON public.sends FOR EACH ROW WHEN (((new.dated_at = old.dated_at) OR (old.dated_at > clock_timestamp()) OR (new.first_attempt_at > clock_timestamp()))) EXECUTE FUNCTION public.date_send();

CREATE TRIGGER date_moments BEFORE UPDATE OF lease_until ON public.tasks FOR EACH ROW EXECUTE FUNCTION public.date_row();

CREATE TRIGGER forgotten_result BEFORE INSERT ON public.failed_tasks FOR EACH ROW WHEN (starts_with(new.identity, 'forgotten-'::text)) EXECUTE FUNCTION public.drop_forgotten_failure();

CREATE TRIGGER forgotten_result BEFORE INSERT ON public.ledger FOR EACH ROW WHEN (starts_with(new.identity, 'forgotten-'::text)) EXECUTE FUNCTION public.blank_forgotten_result();

CREATE TRIGGER judge_tick BEFORE UPDATE OF posted, failed ON public.watched_ticks FOR EACH ROW WHEN ((new.hold IS NULL)) EXECUTE FUNCTION public.judge_tick();

CREATE TRIGGER messages_deleted AFTER DELETE ON public.messages REFERENCING OLD TABLE AS old_messages FOR EACH STATEMENT EXECUTE FUNCTION public.note_content_changes();

CREATE TRIGGER messages_inserted AFTER INSERT ON public.messages REFERENCING NEW TABLE AS new_messages FOR EACH STATEMENT EXECUTE FUNCTION public.note_content_changes();

CREATE TRIGGER messages_renumber BEFORE UPDATE ON public.messages FOR EACH ROW WHEN (((((((old.messageset_id IS DISTINCT FROM new.messageset_id) OR (old.sequence_number IS DISTINCT FROM new.sequence_number)) OR (old.lang IS DISTINCT FROM new.lang)) OR (old.text_content IS DISTINCT FROM new.text_content)) OR (old.binary_content_id IS DISTINCT FROM new.binary_content_id)) OR (old.metadata IS DISTINCT FROM new.metadata))) EXECUTE FUNCTION public.number_message_version();

CREATE TRIGGER messages_updated AFTER UPDATE ON public.messages REFERENCING OLD TABLE AS old_messages NEW TABLE AS new_messages FOR EACH STATEMENT EXECUTE FUNCTION public.note_content_changes();

CREATE TRIGGER messages_versions_of_inserted AFTER INSERT ON public.messages REFERENCING NEW TABLE AS new_messages FOR EACH STATEMENT EXECUTE FUNCTION public.keep_message_versions();

CREATE TRIGGER messages_versions_of_updated AFTER UPDATE ON public.messages REFERENCING NEW TABLE AS new_messages FOR EACH STATEMENT EXECUTE FUNCTION public.keep_message_versions();

CREATE TRIGGER owe_scheduler_call_of_changed AFTER UPDATE OF minute, hour, day_of_week, day_of_month, month_of_year ON public.schedules FOR EACH ROW WHEN ((public.cron_definition(old.*) IS DISTINCT FROM public.cron_definition(new.*))) EXECUTE FUNCTION public.owe_scheduler_call_of_schedule();

CREATE TRIGGER owe_scheduler_call_of_changed AFTER UPDATE OF active, completed, schedule_id ON public.subscriptions FOR EACH ROW WHEN ((((old.active AND (NOT old.completed)) IS DISTINCT FROM (new.active AND (NOT new.completed))) OR (old.schedule_id IS DISTINCT FROM new.schedule_id))) EXECUTE FUNCTION public.owe_scheduler_call_of_subscription();

CREATE TRIGGER owe_scheduler_call_of_deleted AFTER DELETE ON public.subscriptions FOR EACH ROW EXECUTE FUNCTION public.owe_scheduler_call_of_subscription();

CREATE TRIGGER owe_scheduler_call_of_gone_or_new AFTER INSERT OR DELETE ON public.schedules FOR EACH ROW EXECUTE FUNCTION public.owe_scheduler_call_of_schedule();

CREATE TRIGGER owe_scheduler_call_of_new AFTER INSERT ON public.subscriptions FOR EACH ROW WHEN ((new.active AND (NOT new.completed))) EXECUTE FUNCTION public.owe_scheduler_call_of_subscription();

CREATE TRIGGER sends_queue BEFORE INSERT ON public.sends FOR EACH ROW WHEN ((new.queue_schedule_id = 0)) EXECUTE FUNCTION public.queue_send();

CREATE TRIGGER sends_queue_again BEFORE UPDATE OF state ON public.sends FOR EACH ROW WHEN (((new.state = 'owed'::text) AND (old.state <> 'owed'::text))) EXECUTE FUNCTION public.queue_send();

CREATE TRIGGER subscriptions_join BEFORE UPDATE OF active, completed, process_status, schedule_id ON public.subscriptions FOR EACH ROW WHEN ((new.active AND (NOT new.completed) AND (new.process_status >= 0) AND ((NOT (old.active AND (NOT old.completed) AND (old.process_status >= 0))) OR (old.schedule_id <> new.schedule_id)))) EXECUTE FUNCTION public.join_schedule();

CREATE TRIGGER subscriptions_requeue AFTER UPDATE OF schedule_id, messageset_id ON public.subscriptions FOR EACH ROW WHEN (((old.schedule_id <> new.schedule_id) OR (old.messageset_id <> new.messageset_id))) EXECUTE FUNCTION public.requeue_send();

ALTER TABLE ONLY public.behind_subscriptions
    ADD CONSTRAINT behind_subscriptions_current_messageset_id_fkey FOREIGN KEY (current_messageset_id) REFERENCES public.messagesets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.behind_subscriptions
    ADD CONSTRAINT behind_subscriptions_expected_messageset_id_fkey FOREIGN KEY (expected_messageset_id) REFERENCES public.messagesets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.behind_subscriptions
    ADD CONSTRAINT behind_subscriptions_subscription_id_fkey FOREIGN KEY (subscription_id) REFERENCES public.subscriptions(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.console_links
    ADD CONSTRAINT console_links_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.console_sessions
    ADD CONSTRAINT console_sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.content_changes
    ADD CONSTRAINT content_changes_messageset_id_fkey FOREIGN KEY (messageset_id) REFERENCES public.messagesets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.estimated_sends
    ADD CONSTRAINT estimated_sends_messageset_id_fkey FOREIGN KEY (messageset_id) REFERENCES public.messagesets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_binary_content_id_fkey FOREIGN KEY (binary_content_id) REFERENCES public.binary_contents(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_messageset_id_fkey FOREIGN KEY (messageset_id) REFERENCES public.messagesets(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_updated_by_fkey FOREIGN KEY (updated_by) REFERENCES public.users(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.messagesets
    ADD CONSTRAINT messagesets_default_schedule_id_fkey FOREIGN KEY (default_schedule_id) REFERENCES public.schedules(id);

ALTER TABLE ONLY public.messagesets
    ADD CONSTRAINT messagesets_next_set_id_fkey FOREIGN KEY (next_set_id) REFERENCES public.messagesets(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.messagesets
    ADD CONSTRAINT messagesets_updated_by_fkey FOREIGN KEY (updated_by) REFERENCES public.users(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.silent_subscriptions
    ADD CONSTRAINT silent_subscriptions_subscription_id_fkey FOREIGN KEY (subscription_id) REFERENCES public.subscriptions(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.simulations
    ADD CONSTRAINT simulations_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES public.schedules(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_created_by_fkey FOREIGN KEY (created_by) REFERENCES public.users(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_messageset_id_fkey FOREIGN KEY (messageset_id) REFERENCES public.messagesets(id);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES public.schedules(id);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_updated_by_fkey FOREIGN KEY (updated_by) REFERENCES public.users(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_requested_by_fkey FOREIGN KEY (requested_by) REFERENCES public.users(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_permissions
    ADD CONSTRAINT user_permissions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.watched_ticks
    ADD CONSTRAINT watched_ticks_tick_id_fkey FOREIGN KEY (tick_id) REFERENCES public.ticks(id) ON DELETE CASCADE;
