\set number random(1001, 4000)
\set points random(1, 50)
UPDATE customers SET points = points + :points, active = NOT active WHERE id = 9007199254740992 + :number;
