-- A primary-key update: the old key is gone, the new one is there, possibly in another partition.
\set back random(0, 3000)
UPDATE order_lines SET line_no = line_no + 1000
    WHERE order_id = (SELECT max(id) FROM orders) - :back
    AND line_no = (SELECT min(line_no) FROM order_lines WHERE order_id = (SELECT max(id) FROM orders) - :back);
