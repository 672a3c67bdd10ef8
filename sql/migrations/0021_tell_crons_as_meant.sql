-- Why: the Seed Scheduler understands less than we do. A Sunday written as 7 and a step without a
-- range (5/10) are accepted there and never fire, a field of more than 64 characters is refused, and
-- a date that does not exist, such as 31 April, stops it for everybody. So a schedule is told in
-- other words that mean the same; one that has no such words is not told at all.
BEGIN;
SELECT pg_advisory_xact_lock(736266, 1);

CREATE FUNCTION tidy_cron_field(field text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
-- Without blanks, * for an empty one. These are the blanks that Python knows.
SELECT COALESCE(NULLIF(regexp_replace(field,
    '[\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]', '', 'g'),
    ''), '*')
$$;

CREATE FUNCTION cron_numbers(name text, field text) RETURNS integer[] LANGUAGE plpgsql IMMUTABLE
AS $$
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
$$;

CREATE FUNCTION short_cron_field(numbers integer[], lowest integer, highest integer, most integer)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
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

CREATE FUNCTION told_cron_field(name text, field text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
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
$$;

CREATE OR REPLACE FUNCTION cron_definition(schedule schedules) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
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

-- Those that were told in other words than now are told again. Nothing else is.
SELECT owe_chore(CASE mode WHEN 'schedule' THEN 'schedule' ELSE 'members' END, schedules.id::text)
  FROM schedules CROSS JOIN scheduling
 WHERE mode <> 'builtin'
   AND cron_definition(schedules) IS DISTINCT FROM (
           SELECT string_agg(COALESCE(NULLIF(regexp_replace(field, '\s', '', 'g'), ''), '*'), ' '
                             ORDER BY n)
             FROM unnest(ARRAY[schedules.minute, schedules.hour, schedules.day_of_month,
                               schedules.month_of_year, schedules.day_of_week])
                  WITH ORDINALITY AS f (field, n))
 ORDER BY schedules.id;

COMMENT ON COLUMN schedules.next_tick_rule IS
    'The version of the rule, the cron fields and the time zone that next_tick_at was worked out '
    'from: where they are no longer right, next_tick_at is out of date, whoever changed the row.';

INSERT INTO schema_migrations (name) VALUES ('0021_tell_crons_as_meant');
COMMIT;
