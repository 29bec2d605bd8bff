DROP TABLE seats;
DROP TABLE hubs;
DROP TABLE tickets;
