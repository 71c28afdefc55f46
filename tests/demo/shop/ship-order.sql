\set back random(0, 3000)
UPDATE orders SET status = 'shipped' WHERE id = (SELECT max(id) FROM orders) - :back;
