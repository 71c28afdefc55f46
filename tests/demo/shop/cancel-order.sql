-- Takes the order's lines with it.
\set back random(0, 3000)
DELETE FROM orders WHERE id = (SELECT max(id) FROM orders) - :back;
