-- Not the first thousand: those are the sampler's.
\set number random(1001, 6000)
DELETE FROM customers WHERE id = 9007199254740992 + :number;
