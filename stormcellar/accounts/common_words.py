# SPDX-License-Identifier: MIT
"""Words and names that people build passwords from; `common_passwords.py` says how they do it.

In small letters and without signs or spaces. Rude words are here because they are among the most used.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORDS = _words(
    """
    password passwort passwords passw passwd pass passphrase passcode passkey wachtwoord contrasena
    motdepasse senha parola salasana haslo heslo parol sifre kennwort geheim secret secreto sesam login
    logon signin welcome bienvenue willkommen letmein letmeinnow openup opensesame sesame access accesss
    admin administrator administrador root superuser sysadmin user username guest gast test tester testing
    testtest testuser temp temporary default changeme change changeit changethis newpass newpassword mypass
    mypassword nopass nopassword nopasswd yourpassword thepassword oldpassword passpass drowssap master
    system server service support helpdesk manager office company business corporate internet intranet
    online website homepage domain webmaster hostmaster postmaster email mailbox account accounts security
    secure private public backup database router switch firewall network wireless wifi windows linux ubuntu
    debian unix macintosh macbook computer computers computadora desktop laptop notebook printer monitor
    keyboard mouse mousepad joystick keypad capslock backspace spacebar escape control delete insert enter
    return download upload software hardware program programmer developer debugger hacker hacking hackers
    cracker coder google gmail yahoo hotmail facebook twitter instagram snapchat tiktok youtube linkedin
    myspace netscape explorer mozilla firefox chrome safari outlook microsoft oracle cisco apple iphone ipad
    ipod android samsung nokia motorola ericsson siemens philips panasonic toshiba sony fujitsu compaq dell
    lenovo gateway packard intel pentium amazon ebay paypal netflix adobe photoshop

    love loved lovely lover lovers loves loving loveme loveyou lovelove iloveyou iloveu iloveme ilovehim
    iloveher ihateyou ihate imissyou missyou needyou forever foreverlove always together truelove mylove
    firstlove lovebug loveless lovelife heart hearts heartbreak sweet sweets sweetie sweety sweetheart
    sweetpea sweetness honey honeybee sugar sugarplum candy candyman cupcake cookie cookies chocolate
    caramel vanilla baby babe babyblue babydoll babyface babygirl babyboy bigboy biggirl bigman angel angels
    angeleyes angelic princess princesa princesse prince queen king kingdom kitty beauty beautiful belle
    bella bonita pretty prettygirl cute cutie cutiepie sexy sexygirl sexyboy sexyman sexybitch hottie
    hotstuff handsome gorgeous kiss kisses kissme kissmyass hugs friend friends friendship friendly
    bestfriend family familia mother mama mommy mamapapa mamacita father papa daddy daddysgirl dad mom
    sister sisters brother brothers daughter son sunny grandma grandpa children child kids husband wife
    wedding married marriage soulmate girl girls boy boys man woman women lady ladies girlfriend boyfriend
    darling dearest dream dreams dreamer dreaming imagine believe believer wish wishes hope peace smile
    smiles smiley happy happiness happyday happydays lucky luckyone luckyman luckygirl luckydog luckystar
    goodluck sad lonely loner alone broken tears

    fuck fucker fuckers fuckyou fuckoff fuckme fuckit fuckthis fuckyall motherfucker shit shithead shitface
    bullshit bitch bitches asshole assholes asswipe asshat dickhead dick pussy pussycat cunt cock bastard
    bollocks wanker tosser bugger butthead buttface dumbass jackass fatass smartass badass hardcore hardon
    horny slut whore porn porno pornstar erotic erotica playboy playgirl penthouse hustler sex sexsex
    boobies bigtits bigdick bigcock blowjob orgasm lesbian lesbians viagra condom nipples panties pantyhose
    bondage spanking naked nudes stripper lingerie

    dragon dragons dragonfly dragonball dragonfire reddragon blackdragon bluedragon monkey monkeys monkeyboy
    tiger tigers tigger tigerlily lion lions lioness lionking lionheart eagle eagles falcon falcons hawk
    hawks hawkeye blackhawk wolf wolves wolfman wolfgang wolfpack lonewolf werewolf bear bears teddybear
    polarbear poohbear grizzly horse horses mustang stallion pony turtle turtles tortoise dolphin dolphins
    shark sharks whale panther panthers pinkpanther blackpanther cougar cougars jaguar jaguars leopard
    cheetah bobcat wildcat wildcats tomcat rabbit rabbits bunny bunnies kitten kittens kittycat blackcat
    catdog puppy puppies doggie doggy dogs hotdog bigdog maddog bulldog bulldogs greyhound labrador beagle
    boxer poodle husky dalmatian shepherd rottweiler terrier chihuahua dachshund spaniel retriever pitbull
    chicken rooster turkey duck ducks duckling penguin penguins peacock parrot pigeon canary cardinal
    cardinals bluebird redbird blackbird thunderbird firebird hummingbird songbird seagull pelican flamingo
    raven ravens crow owl spider spiders blackwidow scorpion scorpio cobra kingcobra viper python anaconda
    rattlesnake snake snakes lizard gecko iguana alligator crocodile dinosaur raptor frog froggy bullfrog
    toad beetle beetles butterfly ladybug dragonflies mosquito grasshopper bumblebee hornet hornets
    yellowjacket wasp hamster elephant giraffe panda koala kangaroo gorilla chimpanzee donkey buffalo bison
    moose reindeer antelope badger beaver ferret mongoose weasel squirrel raccoon skunk opossum hedgehog
    wolverine wolverines coyote jackal hyena fox foxy redfox whitefox camel llama goat sheep lamb pig piggy
    porky cow bull longhorn longhorns phoenix unicorn pegasus griffin centaur chimera hydra basilisk mermaid
    fairy fairies fish goldfish catfish swordfish starfish jellyfish lobster oyster salmon barracuda piranha
    stingray octopus animal animals zoo creature beast

    football footballer baseball basketball soccer hockey icehockey tennis golf golfer golfing golfball
    rugby cricket volleyball softball handball netball lacrosse badminton swimming swimmer swim running
    runner roadrunner jogging marathon triathlon skating skater skateboard skateboarding snowboard
    snowboarder skiing surfer surfing surfboard windsurf boxing kickboxing wrestling wrestler karate judo
    taekwondo kungfu fishing fisherman hunter hunters hunting racing racer motocross motorcycle bicycle
    cycling cyclist biker bowling bowler billiards snooker poker casino blackjack jackpot roulette champion
    champions championship winner winners winning player players gamer gamers game games gameover playgame
    coach referee goalie goalkeeper striker pitcher catcher quarterback linebacker touchdown homerun
    slamdunk athlete athletic athletics sports sportsman gymnast gymnastics cheerleader cheer ballet
    ballerina yankees redsox whitesox cubs braves dodgers giants mets phillies orioles mariners rangers
    astros padres rockies brewers pirates twins bluejays cowboys steelers packers raiders redskins broncos
    patriots vikings chargers bengals browns saints buccaneers seahawks titans texans jets colts chiefs rams
    lakers celtics bulls pistons knicks rockets sixers blazers pacers warriors spurs suns kings redwings
    bruins flyers blackhawks canucks canadiens mapleleafs avalanche lightning gators sooners buckeyes
    trojans hurricanes seminoles tarheels bluedevils hoosiers huskers jayhawks huskies volunteers razorbacks
    crimsontide fightingirish notredame arsenal liverpool liverpoolfc chelsea chelseafc everton manutd
    manchester manchesterunited mancity newcastle tottenham westham astonvilla leeds sunderland rangersfc
    celticfc celtic barcelona realmadrid atletico juventus acmilan intermilan inter roma lazio napoli bayern
    dortmund schalke werder ajax feyenoord benfica sporting porto galatasaray fenerbahce besiktas spartak
    zenit dynamo bocajuniors riverplate flamengo corinthians palmeiras santos gremio ronaldo ronaldinho
    messi neymar beckham rooney zidane maradona pele kaka drogba gerrard torres jordan airjordan kobebryant
    lebron shaq ironman nascar earnhardt formulaone ferrari schumacher senna valentinorossi

    superman superstar superhero superwoman supergirl superfly supernova supernatural batman batgirl
    spiderman ironmaiden hulk punisher deadpool daredevil xmen avengers avenger catwoman joker robin riddler
    greenlantern flash aquaman wonderwoman marvel comics starwars skywalker lukeskywalker darthvader vader
    anakin yoda jedi jediknight jedimaster hansolo chewbacca chewie bobafett r2d2 r2d2c3po c3po stormtrooper
    millennium deathstar startrek enterprise voyager spock kirk picard klingon borg matrix morpheus trinity
    neo thematrix babylon5 stargate galactica battlestar firefly serenity farscape xfiles mulder scully
    doctorwho tardis dalek torchwood buffy pokemon pikachu charizard naruto sasuke sakura itachi goku vegeta
    dragonballz inuyasha bleach onepiece digimon yugioh sailormoon evangelion anime manga mario luigi zelda
    sonic tetris pacman donkeykong metroid kirby yoshi minecraft fortnite roblox halo masterchief warcraft
    worldofwarcraft starcraft diablo everquest runescape counterstrike halflife quake doom unreal tombraider
    laracroft finalfantasy sephiroth cloudstrife metalgear residentevil assassin assassins callofduty
    battlefield nintendo gamecube gameboy playstation xbox xbox360 dreamcast sega atari simpsons simpson
    homer homerj bart lisa marge southpark cartman kenny familyguy futurama bender scooby scoobydoo garfield
    snoopy charliebrown peanuts mickey mickeymouse minnie minniemouse donald donaldduck goofy pluto disney
    disneyland tinkerbell tinkerbelle cinderella snowwhite pocahontas aladdin bambi dumbo nemo findingnemo
    shrek barbie godzilla kingkong tarzan gandalf frodo bilbo baggins legolas aragorn gollum sauron hobbit
    hobbits lordoftherings tolkien merlin arthur kingarthur camelot lancelot excalibur hogwarts potter
    harrypotter hermione gryffindor slytherin dumbledore voldemort twilight terminator gladiator maximus
    spartacus braveheart rambo rocky zorro indiana indianajones jamesbond bond007 goldeneye goldfinger
    moneypenny godfather corleone scarface sopranos titanic casablanca highlander transformers optimus
    optimusprime megatron predator alien aliens robocop bladerunner pulpfiction fightclub tylerdurden
    friday13 chucky dracula frankenstein hellraiser sherlock holmes watson hamlet macbeth romeo juliet
    shakespeare einstein newton galileo darwin davinci picasso rembrandt mozart beethoven bach chopin
    vivaldi napoleon cleopatra caesar alexander geronimo lincoln washington jefferson kennedy

    metallica megadeth slayer slipknot nirvana kurtcobain pearljam soundgarden greenday offspring blink182
    linkinpark limpbizkit korn deftones disturbed evanescence nightwish rammstein judaspriest blacksabbath
    ozzy ozzyosbourne acdc gunsnroses slash aerosmith bonjovi defleppard motleycrue vanhalen ledzeppelin
    pinkfloyd thedoors doors rollingstones beatles thebeatles johnlennon lennon mccartney elvis presley
    eltonjohn davidbowie bowie depeche depechemode radiohead coldplay oasis blur u2 rush2112 genesis yes
    thewho ramones misfits sexpistols clash theclash rancid pantera sepultura manson marilynmanson tool
    nineinchnails eminem slimshady marshall tupac 2pac biggie snoopdogg snoop drdre icecube fiftycent wutang
    wutangclan jayz beyonce rihanna shakira madonna britney britneyspears christina mariah justinbieber
    bieber jonasbrothers onedirection hannahmontana mileycyrus taylorswift ladygaga michaeljackson bobmarley
    marley reggae rasta rastaman rastafari hendrix jimihendrix joplin dylan bobdylan santana sinatra
    rocknroll rockstar rock rocker rocks punk punkrock punker metal metalhead heavymetal deathmetal
    blackmetal hiphop rap rapper techno trance house electro disco jazz blues soul funk funky music musica
    musical musician guitar guitars guitarist guitarra bassist drummer drums piano pianist violin cello
    trumpet trombone saxophone clarinet flute karaoke singer singing dance dancer dancing orchestra symphony
    melody harmony rhythm concert studio radio stereo speaker fender gibson stratocaster telecaster lespaul
    ibanez

    corvette camaro charger challenger chevelle impala silverado cadillac pontiac buick chevy chevrolet
    dodge dakota ford fordf150 mercury chrysler plymouth porsche carrera boxster mercedes mercedesbenz benz
    bmw audi volkswagen jetta passat golfgti opel renault clio peugeot citroen fiat alfaromeo lancia
    maserati lamborghini bugatti bentley rollsroyce astonmartin landrover rangerover lotus minicooper cooper
    volvo saab skoda lada toyota corolla camry supra celica tacoma honda civic accord prelude integra acura
    nissan skyline altima maxima infiniti lexus mazda miata mitsubishi lancer eclipse subaru impreza hyundai
    jeep wrangler cherokee hummer harley harleydavidson davidson yamaha suzuki kawasaki ducati triumph vespa
    scooter turbo nitro diesel engine mechanic truck trucker trucks driver drive speed speedy speedway fast
    faster fastcar racecar roadster motor airplane aircraft airborne airforce aviation pilot spitfire
    phantom boeing airbus helicopter rocket apollo apollo13 spaceship spacecraft submarine sailboat sailing
    sailor boat yacht train trains locomotive

    summer summertime winter wintertime autumn spring springtime sommer invierno verano sunday monday
    tuesday wednesday thursday friday saturday weekend holiday holidays vacation january february march
    april may june july august september october november december christmas xmas merryxmas easter halloween
    thanksgiving valentine valentines birthday happybirthday anniversary tomorrow yesterday today midnight
    morning evening night nights goodnight goodmorning sunshine sunlight sunflower sunset sunrise sundance
    sun rainbow rainbows rain rainy raining raindrop moon moonlight moonshine moonbeam bluemoon fullmoon
    halfmoon star stars starlight starbright stargazer starfire starship stardust thunder thunderbolt storm
    stormy storms hurricane tornado cyclone typhoon blizzard snow snowball snowman snowflake icecream iceman
    iceberg freeze frozen fire fireball fireman firefighter fireworks flame flames inferno volcano
    earthquake cloud clouds cloud9 sky skyblue bluesky flower flowers flowerpower rose roses redrose
    whiterose blackrose daisy daisies lily tulip tulips orchid violet violets lavender jasmine iris magnolia
    blossom petal garden gardener gardening forest jungle tree trees oaktree maple willow cedar bamboo
    shamrock clover cactus mushroom ivy leaf river riverside ocean oceans beach beachbum beachboy island
    islands paradise tropical mountain mountains hill valley canyon desert meadow lake lakeside waterfall
    water earth nature natural universe galaxy planet planets world saturn jupiter neptune venus mars uranus
    comet asteroid meteor cosmos cosmic cosmo nebula diamond diamonds crystal crystals emerald sapphire ruby
    pearl pearls opal amber topaz jade turquoise silver golden gold platinum titanium bronze copper steel
    iron stone stones stonecold marble purple orange yellow green blue blueblue black white pink pinky red
    redred brown indigo scarlet crimson magenta blueeyes browneyes greeneyes blackandwhite redhead redneck
    blondie brunette blonde

    banana bananas apples cherry cherries strawberry strawberries blueberry raspberry blackberry cranberry
    pineapple peach peaches pear melon watermelon lemon lemonade lime mango papaya coconut apricot grape
    grapefruit avocado tomato potato potatoes carrot cabbage broccoli spinach onion garlic cucumber pickle
    pickles pumpkin pepper drpepper ginger cinnamon nutmeg peanut peanutbutter cashew almond cheese
    cheeseburger cheesecake butter buttercup butterscotch cream creamy pizza burger hamburger bigmac
    mcdonalds burgerking sandwich noodle noodles spaghetti macaroni lasagna ravioli meatball sausage bacon
    steak barbecue popcorn pretzel pringles doritos snickers skittles twinkie oreo marshmallow jellybean
    lollipop bubblegum gummybear pancake pancakes waffle muffin biscuit doughnut donuts brownie dumpling
    pudding applepie coffee espresso cappuccino starbucks tea milk milkshake juice gatorade redbull whiskey
    whisky jackdaniels johnnywalker jameson scotch bourbon vodka smirnoff absolut rum captainmorgan bacardi
    tequila margarita martini gin guinness heineken budweiser budlight carlsberg corona beer beerbeer
    coldbeer rootbeer wine champagne cocktail drunk pepsi pepsicola cocacola coke cokecola dietcoke sprite
    mountaindew marlboro newport cigarette smoke smoker smokes smoking weed ganja cannabis marijuana stoner
    reefer mushrooms ecstasy cocaine heroin

    america american usa unitedstates canada canadian mexico mexicano england english britain british
    scotland scottish ireland irish wales london paris berlin munich hamburg cologne vienna zurich geneva
    germany german deutschland france french francais italy italia italian italiano spain espana spanish
    madrid lisbon portugal holland dutch amsterdam rotterdam brussels belgium denmark norway sweden swedish
    finland helsinki stockholm iceland poland polska warsaw prague budapest hungary romania bulgaria greece
    athens istanbul ankara russia russian moscow moskva ukraine serbia croatia slovenia albania kosovo
    israel jerusalem egypt morocco algeria tunisia nigeria ghana kenya africa african southafrica india
    indian delhi mumbai pakistan karachi lahore bangladesh srilanka nepal china chinese beijing shanghai
    hongkong taiwan japan japanese tokyo korea korean seoul thailand bangkok vietnam saigon malaysia
    singapore indonesia jakarta bali philippines pinoy manila australia aussie sydney melbourne brisbane
    newzealand kiwi auckland hawaii hawaiian honolulu alaska arizona arkansas california colorado carolina
    florida georgia illinois kansas kentucky louisiana maryland michigan minnesota mississippi missouri
    montana nebraska nevada oklahoma oregon pennsylvania tennessee texas texan utah vermont virginia
    wisconsin wyoming atlanta boston brooklyn bronx chicago cincinnati cleveland columbus dallas denver
    detroit hollywood houston lasvegas vegas losangeles memphis miami milwaukee nashville newyork
    newyorkcity newjersey orlando philadelphia philly pittsburgh portland sacramento sandiego sanfrancisco
    seattle tampa toronto montreal vancouver ottawa calgary winnipeg quebec brasil brazil brasilia
    riodejaneiro saopaulo argentina buenosaires chile santiago colombia bogota medellin peru lima ecuador
    bolivia venezuela caracas cuba cubano havana jamaica jamaican barbados trinidad puertorico boricua
    dominican guatemala honduras elsalvador nicaragua costarica panama europe europa asia atlantis

    jesus jesuschrist jesus1st jesussaves jesuslovesme ilovejesus ilovegod lovegod christ christian
    christianity catholic baptist church heaven heavenly blessed blessing blessings bless faith faithful
    grace gracious gospel bible exodus psalm psalm23 john316 savior saviour messiah emmanuel lordjesus
    godisgood godislove godbless ingodwetrust praise praisegod hallelujah alleluia amen prayer angelo islam
    muslim allah allahakbar bismillah mohammed muhammad inshallah mashallah buddha buddhist krishna ganesh
    shiva shalom god gods goddess holy holyspirit spirit spiritual karma destiny destiny1

    trustno1 trustme trustnoone whatever whatsup wassup nothing something anything everything nobody
    somebody anyone someone anonymous unknown none noname nickname blahblah blah blahblahblah asdf hello
    hello1 hellohello hellothere helloworld hithere goodbye byebye bonjour hola aloha thanks thankyou please
    sorry excuseme freedom liberty justice equality independence democracy revolution revolver peaceout
    success successful victory victorious power powerful powers money moneymoney moneyman mymoney cash
    dollar dollars billion billionaire million millionaire rich wealth fortune crazy crazyman crazygirl
    psycho loser losers stupid stupidme idiot idiots moron dummy fool foolish freak freaky weird killer
    killers killme killall kill killbill murder murderer death deathnote dead deadman suicide blood bloody
    vampire vampires zombie zombies ghost ghosts ghostrider shadow shadows shadowman darkness dark darkangel
    darkside darkstar darkknight darklord darkman demon demons devil devils satan lucifer hell hellfire
    hellboy helloween hellokitty evil evilone wicked witch witches wizard wizards warlock sorcerer magic
    magical magician magick mystery mystical mystic secretagent legend legends legendary hero heroes champ
    chosen chosenone titan atlas zeus athena artemis hades poseidon hercules achilles odin thor loki
    valhalla spartan spartans troy trojan pharaoh sphinx ninja ninjas samurai shogun warrior knight knights
    soldier soldiers sniper ranger commando army navy navyseal marine marines semperfi usmc airman military
    veteran general captain colonel major sergeant lieutenant commander admiral corporal police policeman
    sheriff detective fbi cia spy doctor doctors nurse nurses dentist teacher teachers student students
    professor principal lawyer engineer architect carpenter plumber painter artist artistic writer author
    poet poetry actor actress model photo photography camera nikon canon kodak school schools highschool
    college university academy graduate graduation science scientist biology chemistry physics mathematics
    history geography philosophy psychology literature library reader reading books book bookworm pencil
    paper letter newspaper magazine television telephone phone cellphone mobile window door home
    homesweethome kitchen bathroom bedroom castle tower bridge street highway building garage station
    airport hotel hospital market shopping fashion shoes boots gucci prada chanel versace armani adidas nike
    puma reebok converse vans quiksilver billabong volcom

    maverick renegade rebel rebels rebellion outlaw bandit gangster gangsta gangsters mafia thug thuglife
    thugs pimp pimping pimpin playa hustla baller ballin balla bigballer homeboy homeboys homies homie blaze
    blazer blaster booboo boomer boomerang bootsie bubba bubble bubbles buddy buddyboy buddylee buster butch
    casper cannon chaos charm charming chester chief chopper cowboy cowgirl crusader cyber cyborg deadhead
    digital dilbert dingdong dirtbike doggystyle dominator domino doodle dynamite dynasty electric elements
    elevator elite empire energy eternal eternity evolution explosion express extreme fantasy fantastic
    fearless finger fingers flipper flyer flying formula fortress forty frankie freebird freestyle frisky
    fuzzy gemini genius gizmo goblin goober goodlife goodtimes graphics gremlin groovy guardian gumby gunner
    hammer hammerhead happygirl hardrock headshot heather hermes hobbes hoover horizon hotrod hotshot
    hotwheels illusion immortal impact incredible infinite infinity insane insanity insomnia inspiron
    integrity invader invincible invisible jester joyful juggalo juggernaut jumper junior justdoit justme
    killjoy kingpin kramer lateralus laser legacy leather letsgo liquid loverboy lovergirl ludacris machine
    madman madness magnet magnum maniac meatloaf megaman memory memories mission mistress monster monsters
    mustard mutant nautica neverland nevermind nevermore nightmare nighthawk nightowl nimrod nonsense
    nothing1 number numberone numeroone oblivion offense omega onelove optimist original outlaws overkill
    overlord paintball pandora paranoid passion patience patrick patriot perfect perfection pervert pharmacy
    picture pimpdaddy pinball pirate platypus pleasure popeye popstar positive precious premium presario
    pressure prestige primetime prodigy progress prophet protect quality quantum question radiance rainman
    rampage rascal reality reaper reckless redrum remember rescue respect revenge ripper riverrat rockon
    rolltide roller roscoe rosebud royal rugrats runaway sabrina salvation sanctuary sandman sassy savage
    scarecrow schatz schnecke hallo schatzi scorpions scrappy scrapper scruffy search seduction sentinel
    seven sheepdog shooter shorty shotgun showtime shutup sidekick sideways silence silent simple sinister
    sixpack skipper skippy skull skulls skydive slacker slick smokey smooth snapper sniffer snuggles
    solitude solution sophie southern southside soulfly spanky sparkle sparkles sparky special specialk
    spectrum speedo spencer spike spooky sprinter squirt stanley starfox static stealth stewart stitch
    stranger strange strength strike stronger submit sublime sundevil sunnyday surprise surrender survivor
    swordsman symbol tarheel tazmania testpass therock thebest theking theman theone thebeast theboss theend
    thegame thering thumper thunderball tiffany tinker topgun topsecret toxic traveler treasure trigger
    triplets triton trouble tweety tweetybird twister ultimate ultima ultra undead underdog undertaker
    unforgiven unicorns united universal unlimited valkyrie velocity vendetta venom vengeance veritas virgin
    virus vision viking voodoo vortex walrus warhammer warlord warning waterloo webster westside whiplash
    whiteboy wildchild wildfire wildman wildwood wildcard windsor windmill winston wisdom woodstock woody
    wrestle wrestlemania xanadu xavier xtreme yomama yourmom yourmama zeppelin zephyr zodiac bigboss
    bigdaddy bigmoney bigmike bigred badboy badboys badgirl badman goodboy goodgirl goodman batboy beavis
    beetlejuice biteme bigguy bluefish blowme bonehead boogie brainiac candyass cartoon catalina chipmunk
    chiquita cocoloco cocorico coolcat cooldude coolguy coolgirl coolman coolio crackers creative cowboyup
    crossfire daydream deepblue delta devildog dragonslayer dreamland dreamteam eatme eatshit eightball
    elcamino fatboy fatcat fatman firefire flyboy footlong fourteen freeman freeuser fullhouse futbol geezer
    getlost getmoney ghetto girlpower giggles goaway goforit goldberg goodday gotcha gotmilk greatest
    greatone groover hallo123 hardwork headache heartless helpme holla hotpink hotmama hotgirl hotboy
    huggies iamcool iamgod iamtheone icecold idontknow iforget iforgot ihateu imcool imsexy intruder itsme
    itsmylife justforfun just4fun keepout killerbee knockers knuckles ladybird lalala lalalala letsdoit
    lifehack lifeisgood lifestyle littleman littleone longhair looking lostsoul lovehate luvme luvyou
    mainframe makemoney makeitso makelove masterkey masterpass maxpower mellon mindless minime mischief
    moneymaker mylife mynameis myname myself mybaby mygirl myspace1 nascar24 neverdie neveragain nevergiveup
    newlife nextel nightfall nocturne noway omgomg onlyme onlyone openit oneday onetime outback outside
    pallina panzer papabear password01 peekaboo penny piglet pinkie playball playtime pleaseme popopo pookie
    pooper poophead poopoo porkchop powerman puppydog puppylove qwerty qwert qwer azerty qwertz rachelle
    radical rainfall redline redlight rightnow rollin saint satan666 screwyou seesaw sesame1 shopgirl
    shutdown skinhead sleepy slipper slowhand smallville soccergirl softtail solomon somethingelse soprano
    spongebob spunky starbuck stayout steelers1 stonewall streetball stud suckit suckme sunnyboy superior
    supreme sweetgirl sweetlove sweetdreams swinger takeoff tattoo teamo teenager temppass tenerife texas1
    thankgod themaster three tightend timeout tinman toontown topdog touchme toystory treefrog twentyone
    waheguru watchdog waterboy waterman webhosting whatthe whatthefuck whisper whocares whoami wildwest
    windsurfer wonderful wonderland wordpass worldcup yellowstone youandme youknow yourname zaq zxcvbn zxcvb
    teamomucho tequiero tequieromucho amor amore amour mivida miamor teamo1 micorazon corazon carino bebito
    bonito hermosa estrella mariposa princesita alegria esperanza felicidad soleil chouchou doudou loulou
    amoureux toujours cheval papillon jetaime jtaime monamour azertyuiop liebe ichliebedich sonne fussball
    hallohallo schalke04 passwort1 arschloch

    31415926 314159265 3141592653 3141592654 27182818 2718281828 11235813 1123581321 16180339 4815162342
    01020304 0102030405 010203040506 12345678910 1029384756 13579 24680 ncc1701 ncc1701a ncc1701d ncc1701e

    пароль парольпароль логин привет любовь люблю любимая любимый ятебялюблю лапочка солнце солнышко зайчик
    зайка котенок кошка собака дракон мама папа мамапапа семья бабушка россия москва спартак динамо зенит
    пиздец пизда хуйвам сука жопа компьютер интернет кристалл победа свобода счастье красота машина рыбка
    наталья наташа настя анастасия екатерина катерина катя елена светлана света ольга оксана марина мария
    маша ирина татьяна таня юлия анна аня алена алина дарья кристина виктория вероника евгения людмила
    лариса александр александра саша сергей андрей алексей дмитрий дима максим владимир вова николай коля
    михаил миша евгений женя антон артем иван ваня павел паша роман рома денис игорь олег юрий виктор никита
    кирилл
    """
)

NAMES = _words(
    """
    aaron abigail adam adrian adriana agnes aidan aileen alan albert alberto alejandra alejandro aleksandr
    alena alessandro alex alexander alexandra alexandre alexandria alexandru alexia alexis alfonso alfred
    alfredo alice alicia alison allison alyssa amanda amber amelia amelie anastasia anderson andrea andreas
    andreea andrei andres andrew andrey andy angela angelica angelina angelique angelito angie anita anjali
    anna annabel annabelle anne annette annie anthony antoine anton antonella antonia antonio april ariana
    ariel arlene armando arnold arthur ashish ashlee ashleigh ashley ashton astrid audrey augusto aurelie
    aurora austin barbara barry beatrice beatriz becky belinda benedict benjamin bennett bernard bernardo
    bernie bertha bethany betty beverly bianca billie billy bobby bonnie boris brad bradley brady brandi
    brandon brandy brenda brendan brent brett brian briana brianna bridget britney brittany brittney brooke
    bruce bruno bryan bryce caitlin caleb calvin camila camille cameron candace candice carina carl carla
    carlos carlito carlitos carmen carol carole carolina caroline carolyn carrie carter casey cassandra
    cassie catalina caterina catherine cathy cecile cecilia cedric celeste celine chandler chandra chantal
    charlene charles charlie charlotte chelsea cheryl chester chloe chris chrissy christa christel
    christelle christian christiane christie christina christine christophe christopher christy cindy claire
    clara clarence clarissa claude claudia claudio clayton clement clifford clinton cody colette colin
    colleen connie connor conrad constance corey corinne courtney craig cristian cristina crystal curtis
    cynthia daisy dakota dale damian damien daniel daniela daniele danielle danilo danny daphne darlene
    darren darryl dave david davide dawn deanna debbie deborah debra deepak delphine denise dennis derek
    derrick desiree destiny devin devon diana diane diego dietmar dimitri dolores dominic dominik dominique
    donald donna doreen doris dorothy douglas duncan dustin dwayne dwight dylan eddie edgar edith edmund
    eduardo edward edwin eileen elaine elena eleonora elias elijah elisabeth elise elizabeth ellen elliot
    elliott elsa elvira emanuel emilia emilie emiliano emilio emily emma emmanuel enrico enrique eric erica
    erich erick erik erika erin ernest ernesto esmeralda esteban estelle esther ethan eugene eugenia evelyn
    fabian fabienne fabio fabrice fatima federica federico felicia felipe felix fernanda fernando filippo
    fiona florence florian frances francesca francesco francis francisco franco francois frank frankie
    franklin franz fred freddie freddy frederic frederick frederik friedrich gabriel gabriela gabriele
    gabriella gabrielle garrett gary gavin genevieve geoffrey george georgia georgina gerald geraldine
    gerard gerardo gerhard gianluca gilbert gilberto gina giorgio giovanna giovanni gisela giulia giuseppe
    gladys glenn gloria gonzalo gordon graham gregor gregory greta griffin guillaume guillermo gunther
    gustavo hailey hannah hans harold harriet harrison harry harvey hassan hayden hayley heather hector
    heidi heinrich helen helena helene henri henrik henry herbert herman hernan hilary hillary holger holly
    howard hubert hugo humberto hunter ibrahim ignacio ingrid irene irina iris isaac isabel isabella
    isabelle ismael ivan jack jackie jackson jacob jacqueline jacques jaime jake james jamie jan jane janet
    janice janine jared jasmin jasmine jason javier jay jean jeanette jeanne jeannie jeff jefferson jeffery
    jeffrey jenna jennifer jenny jeremiah jeremy jermaine jerome jerry jesse jessica jessie jill jillian
    jimmy joachim joan joanna joanne joaquin jocelyn jochen joel joelle johan johanna johannes john
    johnathan johnny johnson jonas jonathan jordan jorge jose josef joseph josephine joshua joyce juan
    juanita judith julia julian juliana julianne julie julien juliet juliette julio julius justin justine
    karen karin karina karine karl katarina kate katerina katharina katherine kathleen kathryn kathy katie
    katja katrina kayla keith kelly kelsey kendra kenneth kenny kevin kimberly kirsten klaus konrad kristen
    kristian kristie kristin kristina kristine kristy krystal kurt kyle lance lara larissa larry laura
    lauren laurence laurent lauretta laurie lawrence leah leandro leanne leigh leila lena leo leon leonard
    leonardo leonie leroy leslie leticia lewis liam liliana lillian linda lindsay lindsey lisa lloyd logan
    loretta lorena lorenzo lori lorraine lothar louis louise lourdes luca lucas lucia luciana luciano lucie
    lucille lucy ludovic luigi luis luisa lukas luke lydia lynn madeleine madeline madison magdalena maggie
    malcolm mallory manfred manon manuel manuela marc marcel marcela marcella marcello marcelo marcia marcin
    marco marcos marcus margaret margarita margaux margot maria mariah mariana marianne mariano marie
    mariela marilyn marina mario marion marisa marisol marissa marjorie mark marketa marko markus marlene
    marlon marshall marta martha martin martina martine marvin mary maryann maryjane mason massimo mateo
    mathew mathias mathieu mathilde matteo matthew matthias matthieu maureen maurice mauricio maurizio max
    maxime maximilian maxine maxwell megan melanie melinda melissa melody melvin mercedes meredith michael
    michaela michal micheal michel michele michelle miguel mike mikael mikhail milan mildred milena miranda
    miriam mitchell mohamed mohammad mohammed moises molly monica monika monique morgan moritz muhammad
    murphy murray myriam nadia nadine nancy naomi natalia natalie natasha nathalie nathan nathaniel neil
    nelson nicholas nick nicola nicolas nicole nicolette nigel nikita nikki niklas nikolai nikolas nina noah
    noelle noemi norbert norman nuria octavio olga oliver olivia olivier omar orlando oscar osvaldo oswald
    pablo paige pamela paola paolo pascal patrice patricia patricio patrick patrik patty paul paula paulina
    pauline paulo pavel pedro peggy penelope penny perry peter petra petrus philip philipp philippe phillip
    phyllis pierre polina preston priscilla priya quentin quincy rachel rafael rahul rainer rajesh ralph
    ramona randall randy raphael raquel rasmus raul ray raymond rebecca regina reginald reinhard renate
    renee rhonda ricardo riccardo richard rick ricky riley rita robbie robert roberta roberto robin robinson
    rocio roderick rodney rodolfo rodrigo roger roland rolando roman romain ronald ronnie rosa rosalie
    rosario rosemarie rosemary roxana roxanne ruben rudolf rupert russell ruth ryan sabine sabrina salvador
    salvatore samantha samson samuel sandra sandrine sandy sanjay santiago sara sarah sascha savannah
    scarlett scott sean sebastian sebastien serena serge sergei sergey sergio seth shane shannon sharon
    shaun shawn sheila shelby shelley shelly sherri sherry sheryl shirley sidney siegfried silke silvia
    silvio simon simona simone sofia solange sonia sonja sophia sophie spencer stacey stacy stanislav
    stanley stefan stefania stefanie stefano stella stephan stephane stephanie stephen sterling steve steven
    stewart stuart summer sunil susan susana susanne susie suzanne svenja svetlana sven sydney sylvain
    sylvester sylvia sylvie tabitha tamara tammy tania tanja tanner tanya tara tatiana tatyana taylor
    teodora teresa terrance terrence terry thelma theodor theodore theresa therese thibault thierry thomas
    thorsten tiffany timothy tina tobias todd tomas tommaso tommy toni tony torsten tracey tracy travis
    trent trevor tristan tucker tyler tyrone ulrich umberto ursula valentin valentina valentine valentino
    valeria valerie valerio vanessa vera vernon veronica veronika veronique vicente vicki vickie vicky
    victor victoria vijay viktor viktoria vincent vincenzo viola violet violetta virginia virginie vivian
    viviana viviane vladimir vladislav walter wanda warren wayne wendell wendy werner wesley wilfred wilhelm
    william williams willie willy wilson winston wolfgang xavier xiomara yannick yasmin yasmine yolanda
    yoshi yvette yvonne zachary zoe andersen bailey baker barnes brooks brown bryant butler campbell carson
    clarke collins crawford davis edwards evans fischer fisher fletcher foster garcia gomez gonzales
    gonzalez hansen harris henderson hernandez holland hoffmann hughes jenkins jensen jimenez johansson
    jones kelley kowalski lopez martinez mcdonald mendoza meyer miller montgomery moore morales morris
    mueller muller nguyen nielsen olsen ortiz parker patterson pereira perez peterson phillips ramirez
    reynolds richards richardson rivera roberts rodriguez romero rossi sanchez sanders santos schmidt
    schneider schulz schwarz silva simmons simpson smith stevens sullivan thompson torres turner vargas
    wagner walker wallace watson weber webster williamson wright young angus astro baxter benji bingo
    biscuit bongo boots brutus buddy buster caesar callie casper chico cinnamon cleopatra coco cosmo cuddles
    dexter domino duchess duke fido flash fluffy frisky ginger gizmo goldie gracie gunner gypsy happy harley
    hershey hobbes honey jasper kasper kiki kobe lady laddie lassie lucky mandy maximus midnight milo mimi
    minnie misty mitzi mittens moose muffin nala oreo otto pebbles pepper peppy pookie prince puffy pumpkin
    rascal rex rocky romeo roxy rufus rusty sadie sammy sasha sassy scooby scout shadow sheba simba skippy
    smokey smudge snoopy snowball socks spanky sparky spike spot sugar tasha teddy thumper tigger timber
    tinkerbell titan toby tootsie trixie tyson whiskers willow winnie woody zeus ziggy zorro
    """
)
