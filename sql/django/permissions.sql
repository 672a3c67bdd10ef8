-- Permissions. The permissions of the groups of a user become permissions of the user.

-- name: stage :exec
-- Copies of the old tables.
CREATE TEMPORARY TABLE auth_permission (id integer, codename text) ON COMMIT DROP;
CREATE TEMPORARY TABLE auth_user_groups (user_id integer, group_id integer) ON COMMIT DROP;
CREATE TEMPORARY TABLE auth_group_permissions (group_id integer, permission_id integer)
    ON COMMIT DROP;
CREATE TEMPORARY TABLE auth_user_user_permissions (user_id integer, permission_id integer)
    ON COMMIT DROP

-- name: read :many
-- Each permission once, even if a user has it by several groups.
SELECT user_id || ' ' || codename AS id, user_id, codename AS permission
  FROM (SELECT user_id, permission_id FROM auth_user_user_permissions
         UNION
        SELECT user_id, permission_id FROM auth_user_groups JOIN auth_group_permissions USING (group_id)
       ) AS given JOIN auth_permission ON auth_permission.id = permission_id
 GROUP BY user_id, codename

-- name: note :exec
-- Left behind: permissions that do not exist here.
INSERT INTO import_notes (noun, id, fate, reason, is_apart, was)
SELECT 'permissions', id, 'left behind', reason, true, to_jsonb(m) - 'id'
  FROM old_permissions m
 CROSS JOIN LATERAL (
       SELECT CASE WHEN NOT EXISTS (SELECT FROM users WHERE users.id = user_id)
                   THEN 'there is no user ' || user_id
                   WHEN permission = 'administer' OR char_length(permission) NOT BETWEEN 1 AND 100
                   THEN 'it cannot be given' END AS reason) why
 WHERE reason IS NOT NULL

-- name: take :exec
-- Import the rows that are not left behind.
INSERT INTO user_permissions (user_id, permission)
SELECT user_id, permission FROM old_permissions m
 WHERE NOT EXISTS (SELECT FROM import_notes n WHERE n.noun = 'permissions' AND n.id = m.id)

-- name: ours :many
-- The rows as they are now, for the checksum.
SELECT user_id || ' ' || permission AS id, user_id, permission FROM user_permissions
