"""Short everyday sentences, written for this corpus, without emotional content.

Every fifth is held out, for the speakers of val and test.
"""

from __future__ import annotations

SENTENCES: tuple[str, ...] = tuple(
    """
Bob found a purple map above the old piano.
We might move the table over to the window.
She put five yellow cups on the shelf.
The bus to the museum leaves at half past four.
My father keeps his boots beside the back door.
You can see both bridges from the top of the tower.
The judge asked for a bigger chair.
Please pick up some bread and a bottle of milk.
Vera thought the film was very long.
They moved the blue boat behind the wooden fence.
A small brown bird sat upon the garden wall.
Would you like a window or an aisle seat?
The farmer wove a basket for the apples.
I left my umbrella on the morning train.
The children watched the fishing boats come home.
Put the pepper back beside the butter.
Our new neighbours have a huge white van.
The choir will sing in the church on Thursday.
He measured the room and wrote the numbers down.
This path goes from the village to the beach.
Somebody painted the bottom half of the wall.
The mayor opened the fair at noon.
I think the weather will change before the weekend.
Move the lamp a bit closer to the bed.
Paul and Emma bought a pair of gloves.
The phone rang twice and then it stopped.
We washed the floor with warm water.
Bring me the map of the Baltic Sea.
The usual road was closed for repairs.
Her office is on the fourth floor.
The puppy jumped over a pile of leaves.
You should ask the woman by the fountain.
They gave us a jar of plum jam.
The bell above the shop door broke in March.
Every film in this box is from my uncle.
A thin layer of snow covered the roof.
Maybe we can meet at the bookshop tomorrow.
He always puts the forks above the spoons.
The mouse ran beneath the kitchen cupboard.
I would rather wait for the next boat.
My mother grows beans and parsley in the yard.
The book about boats belongs to Philip.
Turn left at the bank and follow the river.
She has an appointment with the barber at five.
Those shoes were made in a workshop near Verona.
The plumber mended the pump before breakfast.
We saw a pair of swans on the pond.
They have put a bench by the playground.
The yellow house is opposite the pharmacy.
Open the box and give each of them a pen.
A bee flew from bloom to bloom.
My brother measures everything at least twice.
The room upstairs has a view of the harbour.
Fold the paper and put it in the envelope.
The paper lamp hung from a bamboo pole.
We have moved the meeting to the first of May.
The baker usually opens before six.
Five boys were throwing pebbles into the water.
He put on his gloves and left the room.
The bishop lived above a vegetable shop.
Every Monday the club meets in the blue room.
She took a photo of the mountain from the bus.
You will find the towels in the bathroom.
The boy with the bag lives on our street.
I bought a map and a pair of binoculars.
The programme begins at twenty past eight.
It was warm, so we opened both windows.
The water in the pool was about waist deep.
They brought the piano up the front steps.
There is a cafe on the corner by the theatre.
He wore a brown jumper over a white shirt.
The number of members rose from five to fifty.
Please move the chairs to the other room.
A pale beam of light fell upon the page.
We used to play chess on rainy afternoons.
The map shows every path above the valley.
Amy found a button beneath the sofa.
The road bends before it meets the bridge.
Could you show me how the pump works?
The boat was full of fresh vegetables.
My watch is five minutes slow.
They spoke about the shape of the leaves.
The tall boy at the back is my nephew.
We could hear the choir from the garden.
Put both feet on the floor, please.
The library bought a hundred new books.
The postman brought a parcel for my wife.
She drew a map of the farm for us.
The barn behind the mill is empty.
I usually buy fruit from the van by the pier.
The shop shuts at five on Wednesday.
A group of people waited for the boat.
We put the tomatoes above the window.
The film about whales begins at nine.
He wrote the name of the ship on a napkin.
The pebbles on this beach are very smooth.
Both of my sisters work at the museum.
The cup is on the table by the oven.
There was a bowl of plums beside the phone.
The museum shows maps from all over Europe.
Please give the blue folder to Mr. Webb.
I would like two pounds of green beans.
The wind blew a paper bag over the fence.
My aunt has a farm below the hills.
The guide told us about the old bell.
A van was parked before the main gate.
The path behind the chapel goes up to a farm.
We had bread, cheese and apples for supper.
The piano needs to be moved before Friday.
The boys put up a tent by the brook.
She thanked the driver and got off the bus.
This pump was made in my grandfather's shop.
He combs his beard above the bathroom sink.
The sheep have moved to the upper field.
The moon rose above the orchard wall.
The program was made by five people from Bath.
You may borrow the book for a month.
They would prefer a room above the garden.
The pub by the bridge has a small fireplace.
A wave pushed the boat up the beach.
The chef put some pepper in the soup.
I met my former boss on the ferry.
The paint on the cupboard is nearly dry.
We follow the same route every Sunday.
The judge wore a plain black robe.
Move your thumb over the top of the pipe.
My uncle Robert plays the trumpet in a band.
The five of us shared a bottle of juice.
The baby slept through the whole voyage.
Which of the boxes should we open first?
They found the purse beneath a pile of maps.
The market is empty by the afternoon.
Four small pumpkins grew beside the path.
Phoebe wrapped the vase in newspaper.
The boiler in the basement was mended in April.
We were about to leave when Bill came home.
The cover of the book is a pale green.
He hung the picture above the fireplace.
The bridge over the brook is made of wood.
Put the cap back on the shampoo bottle.
A blue beetle crept over the mushroom.
My favourite month is probably September.
The vet examined both of the lambs.
We bought a few things for the house.
The pipe runs from the pump to the barn.
The team moved up to fifth place.
She remembers the names of all the boats.
The number above the door is eighty five.
I gave the spare map to my nephew.
The chairman opened the meeting with a joke.
The teapot is beside the sugar bowl.
You would be able to see the lamps from above.
They played a waltz by a local composer.
The beam above the stove is very low.
We put the jam on the lower shelf.
Barbara wove the blue rug by the sofa.
The pilot told us about the view.
The paper says it will rain by evening.
Would you move the pram away from the door?
The wooden bowl was full of bright beads.
My boots were under a heap of clothes.
Both films were made in black and white.
The fisherman showed us how to tie a rope.
A loaf of bread was on the kitchen table.
We could go by boat or over the bridge.
The bath is upstairs beside the bedroom.
The teacher put a map of Africa on the wall.
He bought a pump for his bicycle.
There are five pubs between here and the river.
The bottom drawer is full of old photographs.
The carpenter will be here on the fifth of June.
Please weigh the pears and the plums.
I put the blue bulb in the lamp by the door.
They have a map of every cave in the valley.
The board will vote about it in November.
We heard the humming of bees above us.
The road from the port to the farm is bumpy.
The book was bought by a man from Poland.
He rubbed the lamp with a piece of cloth.
My bike is beside the pump in the yard.
Those pupils have both been to Vienna.
A boy in a green jumper waved to us.
The plum tree is above the vegetable patch.
She poured the milk from a brown jug.
The shop on the wharf sells ropes and maps.
The manager will phone you before lunch.
We walked from the farm to the top of the hill.
The cabin has a bunk bed and a small oven.
The thumb of this glove is missing.
You can leave the boxes by the front porch.
The puzzle has over five hundred pieces.
I thought the other path was a bit shorter.
The bluebells bloom by the middle of April.
Put the photographs in the upper drawer.
The ferry is moored behind the white boat.
Our club buys its paper from a shop in Paris.
The flour is in the jar above the bread bin.
My cousin was born on the third of February.
Eve and Pam wrote a poem about the sea.
""".strip().splitlines()
)
HELD_OUT: tuple[str, ...] = SENTENCES[4::5]
TRAIN: tuple[str, ...] = tuple(sentence for sentence in SENTENCES if sentence not in HELD_OUT)
