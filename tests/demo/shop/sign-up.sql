\set number random(1, 1000000)
INSERT INTO customers (id, name) VALUES (nextval('customer_ids'), 'Newcomer ' || :number);
